"""The start page: numbers, what needs attention, and the newest emails."""

from pathlib import Path

import pytest

from tallypost_console.charts import SHAPES
from tallypost_console.pages.home import NEWEST
from tests.integration.console.mail import accept
from tests.integration.console.reading import links, listed, section, tile
from tests.integration.console.running import Browser
from tests.integration.emails.every_status import add_every_status, add_with_outcome
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import let_fail
from tests.support.database import Database, SeededTenant
from tests.support.emails import sandbox_sender

CALM = "Nothing. What is given up"


async def park(queue: Harness, tenant: SeededTenant) -> None:
    """Bulk mail of which nobody knows whether it arrived."""
    await queue.add_bulk(tenant)
    worker = await queue.start_worker()
    for claim in await queue.hand_over(worker, tenant, lane="bulk"):
        await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))


@pytest.mark.parametrize("mode", ["live", "test"])
async def test_first_use_shows_how_to_send_an_email_of_the_mode(owner: Browser, mode: str) -> None:
    page = await owner.get(f"/?mode={mode}")
    assert page.status_code == 200
    assert f"Send your first {mode} email" in page.text
    assert f"Authorization: Bearer tp_{mode}_" in page.text
    assert links(page)["See your API keys"] == "/api-keys"
    assert 'class="chart' not in page.text


async def test_tiles_say_how_many_came_and_what_became_of_them(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    for outcome in ("accepted", "accepted", "accepted", "rejected"):
        await add_with_outcome(queue, tenant, outcome)
    page = await owner.get("/")
    assert tile(page, "Accepted today").value == "4"
    good = tile(page, "Sent or delivered")
    assert (good.value, good.note) == ("75 %", "of 4 this week")
    bounced = tile(page, "Bounced")
    assert (bounced.value, bounced.note) == ("25 %", "of 4 this week")
    assert tile(page, "Accepted to sent, p95").note == "newest 3 emails"


async def test_number_of_today_leads_to_the_emails_that_it_counts(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    ids = await queue.add(tenant, 3)
    href = tile(await owner.get("/"), "Accepted today").href
    assert href is not None
    assert sorted(listed(await owner.get(href))) == sorted(ids)


async def test_chart_and_its_table_have_the_days_emails(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    every = await add_every_status(queue, tenant)
    page = await owner.get("/")
    assert page.text.count('class="bar"') == 7 * len(SHAPES)
    table = page.text.split("<caption")[1].split("</table>")[0]
    (*_, today) = table.split("<tr>")
    # Sent or delivered, waiting or delayed, bounced or failed, complained, suppressed or canceled.
    cells = [cell.partition("<")[0] for cell in today.split('<td class="end">')[1:]]
    assert cells == ["2", "5", "2", "1", "2"]
    assert sum(map(int, cells)) == len(every)


async def test_bar_leads_to_the_emails_of_its_day(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    bars = [
        part.partition('"')[0].replace("&amp;", "&")
        for part in (await owner.get("/")).text.split('class="bar" href="')[1:]
    ]
    assert listed(await owner.get(bars[-1])) == [email_id]
    assert listed(await owner.get(bars[0])) == []


async def test_where_all_is_well_nothing_needs_attention(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await add_with_outcome(queue, tenant, "accepted")
    assert CALM in section(await owner.get("/"), "attention")


async def test_what_needs_attention_leads_to_where_it_is_mended(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await add_every_status(queue, tenant)
    await park(queue, tenant)
    page = await owner.get("/")
    said = section(page, "attention")
    assert CALM not in said
    for concern, action, href in (
        ("1 recipient given up", "See the dead letters", "/queue/dead-letters"),
        ("1 email may have arrived", "Decide", "/queue?only=ambiguous"),
        ("1 email held", "See what is held", "/queue?only=held"),
    ):
        assert concern in said
        assert links(page)[action] == href
        assert (await owner.get(href)).status_code == 200


async def test_newest_emails_are_shown_with_the_way_to_all(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    ids = await accept(database, tmp_path, tenant, *(f"No. {n}" for n in range(NEWEST + 1)))
    page = await owner.get("/")
    assert listed(page) == ids[:0:-1]
    assert links(page)["All emails"] == "/emails"


async def test_newest_email_shows_at_once_however_old_the_numbers_may_be(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (first,) = await accept(database, tmp_path, tenant, "First")
    assert listed(await owner.get("/")) == [first]
    (second,) = await accept(database, tmp_path, tenant, "Second")
    assert listed(await owner.get("/")) == [second, first]


async def test_first_email_changes_the_numbers_at_once(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await owner.get("/")
    await accept(database, tmp_path, tenant, "First")
    assert tile(await owner.get("/"), "Accepted today").value == "1"


async def test_modes_are_counted_apart_and_links_stay_in_theirs(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await accept(database, tmp_path, tenant, "Live 1", "Live 2")
    await accept(database, tmp_path, tenant, "A test", sender_of=sandbox_sender)
    assert tile(await owner.get("/"), "Accepted today").value == "2"
    page = await owner.get("/?mode=test")
    today = tile(page, "Accepted today")
    assert today.value == "1"
    assert today.href is not None
    assert "mode=test" in today.href
    assert links(page)["All emails"] == "/emails?mode=test"
    assert 'hx-sse:connect="/home/live?mode=test&amp;tenant=' in page.text


async def test_mode_that_does_not_exist_makes_no_sense(owner: Browser) -> None:
    assert (await owner.get("/?mode=other")).status_code == 400


async def test_another_tenants_mail_counts_nowhere(
    owner: Browser,
    other_owner: Browser,
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    await queue.add(other_tenant, 2, subject="Not yours")
    await let_fail(queue, other_tenant)
    await park(queue, other_tenant)
    assert "Send your first live email" in (await owner.get("/")).text
    await add_with_outcome(queue, tenant, "accepted")
    page = await owner.get("/")
    assert tile(page, "Accepted today").value == "1"
    assert CALM in section(page, "attention")
    assert "Not yours" not in page.text
    assert tile(await other_owner.get("/"), "Accepted today").value == "3"
