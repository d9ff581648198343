"""The list of emails and the page of one."""

import re
from pathlib import Path
from uuid import UUID

import pytest

from tallypost_console.pages.emails import PAGE_SIZE
from tallypost_core.ids import new_id
from tests.integration.console.mail import accept, record_attempt, store_message
from tests.integration.console.running import Browser, shown
from tests.support.database import Database, SeededTenant
from tests.support.emails import sandbox_sender


def listed(page: str) -> list[UUID]:
    """Ids of the emails on a page, in its order."""
    return [UUID(found) for found in re.findall(r'href="/emails/([0-9a-f-]{36})"', page)]


def link(page: str, rel: str) -> str | None:
    """Where a button of the pager leads."""
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page)
    return found[1].replace("&amp;", "&") if found else None


async def test_newest_email_comes_first(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    first, second = await accept(database, tmp_path, tenant, "An older one", "A newer one")
    page = await owner.get("/emails")
    assert page.status_code == 200
    assert listed(page.text) == [second, first]
    assert "A newer one" in page.text
    assert "first@recipient.test" in page.text
    assert "Queued" in page.text


async def test_pages_lead_to_every_email_once_and_back(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    ids = await accept(database, tmp_path, tenant, *(f"No. {n}" for n in range(PAGE_SIZE * 2 + 1)))
    down: list[list[UUID]] = []
    path: str | None = "/emails"
    while path is not None:
        page = (await owner.get(path)).text
        down.append(listed(page))
        last, path = path, link(page, "next")
    assert [len(part) for part in down] == [PAGE_SIZE, PAGE_SIZE, 1]
    assert [id_ for part in down for id_ in part] == ids[::-1]
    up: list[list[UUID]] = []
    path = last
    while path is not None:
        page = (await owner.get(path)).text
        up.append(listed(page))
        path = link(page, "prev")
    assert up == down[::-1]


async def test_modes_are_kept_apart(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (live,) = await accept(database, tmp_path, tenant, "A live one")
    (test,) = await accept(database, tmp_path, tenant, "A test", sender_of=sandbox_sender)
    assert listed((await owner.get("/emails?mode=live")).text) == [live]
    page = (await owner.get("/emails?mode=test")).text
    assert listed(page) == [test]
    assert '<html lang="en" class="test-mode"' in page
    assert "<title>Emails · Test · Tallypost</title>" in page


async def test_first_use_shows_how_to_send_an_email(owner: Browser) -> None:
    page = (await owner.get("/emails?mode=test")).text
    assert "No test emails yet" in page
    assert "Authorization: Bearer tp_test_" in page


async def test_page_beyond_the_end_leads_back(owner: Browser) -> None:
    page = (await owner.get(f"/emails?after={UUID(int=0)}")).text
    assert "No more emails" in page
    assert 'href="/emails">Newest emails' in page


@pytest.mark.parametrize("query", ["mode=other", "after=x", "before=1"])
async def test_address_that_makes_no_sense_says_so(owner: Browser, query: str) -> None:
    page = await owner.get(f"/emails?{query}")
    assert page.status_code == 400
    assert "This request cannot be read" in page.text


async def test_email_shows_its_fields(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(
        database,
        tmp_path,
        tenant,
        "A subject",
        to=["Ada <ada@recipient.test>"],
        cc=["copy@recipient.test"],
        bcc=["hidden@recipient.test"],
        reply_to=["answers@example.com"],
    )
    page = (await owner.get(f"/emails/{email_id}")).text
    for words in (
        "A subject",
        "Sample Sender &lt;hello@example.com&gt;",
        "Ada &lt;ada@recipient.test&gt;",
        "copy@recipient.test",
        "hidden@recipient.test",
        "answers@example.com",
        "transactional",
        str(email_id),
        f"&lt;{email_id}@example.com&gt;",
    ):
        assert words in page


async def test_email_of_test_mode_is_found_without_its_mode(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "A test", sender_of=sandbox_sender)
    page = await owner.get(f"/emails/{email_id}")
    assert page.status_code == 200
    assert "test-mode" in page.text


async def test_attempts_and_events_come_in_their_order(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "A subject")
    await record_attempt(database, tenant, email_id, 1, "deferred", "rcpt")
    await record_attempt(database, tenant, email_id, 2, "accepted", "final")
    page = (await owner.get(f"/emails/{email_id}")).text
    attempts = page.split("Delivery attempts")[1].split('id="message"')[0]
    words = ["Attempt 1", "Deferred", "rcpt", "220 mx1.recipient.test", "answer 1"]
    words += ["Attempt 2", "Accepted", "final", "220 mx2.recipient.test", "answer 2"]
    places = [attempts.index(word) for word in words]
    assert places == sorted(places)
    assert attempts.count("first@recipient.test") == 2
    events = re.findall(r'class="what">([^<]+)<', page)
    assert events == ["Accepted and queued", "Put off; it is tried again", "Accepted"]
    assert len(re.findall(r'class="gap">\+', page)) == 2


async def test_attempt_that_went_on_to_another_account_says_so(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "A subject")
    await record_attempt(database, tenant, email_id, 1, "unavailable", "connect")
    await record_attempt(database, tenant, email_id, 1, "accepted", "final", account="second")
    page = (await owner.get(f"/emails/{email_id}")).text
    attempts = page.split("Delivery attempts")[1].split('id="message"')[0]
    assert "Attempt 2" in attempts
    assert attempts.count("Moved on to second") == 1
    assert attempts.index("Moved on to second") < attempts.index("Attempt 2")


async def test_email_leads_to_its_copies_in_the_inbox(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    email_id, other = await accept(database, tmp_path, tenant, "One", "Another")
    await store_message(database, email_id)
    page = (await owner.get(f"/emails/{email_id}")).text
    (path,) = re.findall(r'href="(/inbox/[^"]+)"', page)
    assert (await owner.get(path)).status_code == 200
    assert "In the Inbox" not in (await owner.get(f"/emails/{other}")).text


async def test_what_a_sender_wrote_is_text_and_never_markup(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    attack = "<script>alert(1)</script>\"'><img src=x>"
    (email_id,) = await accept(database, tmp_path, tenant, attack, to=['"<b>" <a@recipient.test>'])
    for path in ("/emails", f"/emails/{email_id}"):
        page = (await owner.get(path)).text
        assert "<script>" not in page
        assert "<img src=x" not in page
        assert "<b>" not in page
        assert "&lt;script&gt;alert(1)" in page


async def test_email_of_another_tenant_is_an_unknown_one(
    owner: Browser,
    other_owner: Browser,
    database: Database,
    other_tenant: SeededTenant,
    tmp_path: Path,
) -> None:
    (theirs,) = await accept(database, tmp_path, other_tenant, "Not yours")
    assert (await other_owner.get(f"/emails/{theirs}")).status_code == 200
    answers = [await owner.get(f"/emails/{id_}") for id_ in (theirs, new_id(), "no-id")]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert shown(answers[0]) == shown(answers[1]) == shown(answers[2])
    assert listed((await owner.get("/emails")).text) == []
