"""The queue of a tenant, and sending parked mail again."""

import re
from uuid import UUID

import httpx
import pytest

from tallypost_console.pages import queue as page_of_queue
from tallypost_core import clock
from tests.integration.console.reading import hidden_fields, links, listed, main, words
from tests.integration.console.running import Browser
from tests.integration.queue.harness import Harness, hours
from tests.integration.queue.people import let_fail
from tests.support.database import SeededTenant

PARKED = "/queue?only=ambiguous"
AGAIN = "Send the ticked ones again"


async def park(queue: Harness, tenant: SeededTenant, count: int = 1) -> list[UUID]:
    """Bulk mail of which nobody knows whether it arrived."""
    ids = await queue.add_bulk(tenant, count, subject="News")
    await be_silent(queue, tenant)
    return [*ids]


async def be_silent(queue: Harness, tenant: SeededTenant) -> None:
    """Hand over the bulk mail that is due, to a provider that does not answer."""
    worker = await queue.start_worker()
    for claim in await queue.hand_over(worker, tenant, lane="bulk"):
        await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))


async def tick(browser: Browser, *ids: UUID, page: str = PARKED) -> httpx.Response:
    """Tick these on a page and press the button there."""
    shown = await browser.get(page)
    fields = hidden_fields(shown, "/queue/unconfirmed")
    values = [value_of(shown, id_) for id_ in ids]
    return await browser.submit("/queue/unconfirmed", **fields, email=values)


def value_of(page: httpx.Response, id_: UUID) -> str:
    """What the box of an email says where it is ticked; the bare id where it is not on the page."""
    found = re.search(rf'name="email" value="({id_}[^"]*)"', page.text)
    return found[1] if found else str(id_)


async def test_each_state_lists_and_counts_its_emails(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (parked,) = await park(queue, tenant)
    first, second, third = await queue.add(tenant, 3)
    worker = await queue.start_worker()
    (marked, _) = await queue.claim(worker, tenant, quota=2)
    await queue.mark(worker, marked)
    page = await owner.get("/queue")
    assert sorted(listed(page)) == sorted([parked, first, second, third])
    for label, expected in (
        ("Waiting 1", [third]),
        ("With a worker 1", [second]),
        ("On the wire 1", [first]),
        ("Held 0", []),
        ("To decide 1", [parked]),
    ):
        assert listed(await owner.get(links(page)[label])) == expected, label


async def test_email_stands_with_its_lane_attempts_and_next_try(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    later = clock.utc_now() + hours(30)
    await queue.add(tenant, to=["ada@r.test", "bo@r.test"], subject="Your order")
    await queue.add(tenant, subject="Another day", scheduled_at=later.isoformat())
    said = words(main(await owner.get("/queue")))
    assert "Queued ada@r.test +1 Your order transactional 0 now" in said
    assert f"Another day transactional 0 {later:%-d %b %Y, %H:%M}" in said


async def test_oldest_comes_first_and_pages_lead_to_every_email_once(
    owner: Browser, queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of_queue, "PAGE_SIZE", 2)
    ids = await queue.add(tenant, 5)
    seen: list[UUID] = []
    path: str | None = "/queue"
    while path is not None:
        page = await owner.get(path)
        assert ("First page" in links(page)) == bool(seen)
        assert ("hx-sse:connect" in page.text) == (not seen)
        seen += listed(page)
        path = links(page).get("Next page")
    assert seen == [*ids]


async def test_empty_queue_says_so(owner: Browser) -> None:
    page = await owner.get("/queue?mode=test")
    assert "The queue is empty" in page.text
    assert links(page)["See the emails"] == "/emails?mode=test"


async def test_modes_are_kept_apart(owner: Browser, queue: Harness, tenant: SeededTenant) -> None:
    (live,) = await queue.add(tenant)
    (test,) = await queue.add(tenant, mode="test")
    assert listed(await owner.get("/queue")) == [live]
    page = await owner.get("/queue?mode=test")
    assert listed(page) == [test]
    assert all("mode=test" in href for text, href in links(page).items() if "Held" in text)


@pytest.mark.parametrize("query", ["only=lost", "mode=other", "after=x"])
async def test_address_that_makes_no_sense_says_so(owner: Browser, query: str) -> None:
    assert (await owner.get(f"/queue?{query}")).status_code == 400


async def test_parked_mail_that_was_ticked_is_sent_again_and_no_other(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    first, second = await park(queue, tenant, 2)
    assert AGAIN in (await owner.get(PARKED)).text
    answer = await tick(owner, first)
    assert answer.status_code == 200
    assert "1 recipient of 1 email back in the queue" in words(main(answer))
    assert await queue.state(tenant, first) == "waiting"
    assert await queue.state(tenant, second) == "ambiguous"
    assert listed(await owner.get(PARKED)) == [second]


async def test_pressing_twice_says_that_nothing_waits_for_it_any_more(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    first, _ = await park(queue, tenant, 2)
    await tick(owner, first)
    said = words(main(await tick(owner, first)))
    assert "0 recipients of 0 emails back in the queue" in said
    assert "1 recipient: it does not wait for this any more" in said


async def test_old_page_decides_nothing_about_a_silence_that_came_later(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (parked,) = await park(queue, tenant)
    old = await owner.get(PARKED)
    fields, value = hidden_fields(old, "/queue/unconfirmed"), value_of(old, parked)
    assert "1 recipient of 1 email back" in words(main(await tick(owner, parked)))
    await be_silent(queue, tenant)
    assert await queue.state(tenant, parked) == "ambiguous"
    again = await owner.submit("/queue/unconfirmed", **fields, email=value)
    said = words(main(again))
    assert "0 recipients of 0 emails back in the queue" in said
    assert "it was sent again meanwhile, and no answer came either" in said
    assert await queue.state(tenant, parked) == "ambiguous"
    assert "1 recipient of 1 email back" in words(main(await tick(owner, parked)))


async def test_list_to_decide_about_says_who_was_silent_and_can_show_one_email(
    owner: Browser, queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    first, second = await park(queue, tenant, 2)
    (theirs,) = await park(queue, other_tenant)
    page = await owner.get(PARKED)
    assert "No answer from" in words(main(page))
    assert listed(page) == [first, second]
    one = await owner.get(f"{PARKED}&email={second}")
    assert listed(one) == [second]
    assert links(one)["Show all"] == PARKED
    assert listed(await owner.get(f"{PARKED}&email={theirs}")) == []
    answer = await tick(owner, second, page=f"{PARKED}&email={second}")
    assert "1 recipient of 1 email back" in words(main(answer))


async def test_pressing_without_ticking_changes_nothing_and_says_so(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (parked,) = await park(queue, tenant)
    assert "Nothing was ticked" in (await tick(owner)).text
    assert await queue.state(tenant, parked) == "ambiguous"


async def test_what_waits_by_itself_cannot_be_sent_twice(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (waiting,) = await queue.add(tenant)
    await park(queue, tenant)
    before = await queue.find_row(tenant, waiting)
    answer = await tick(owner, waiting)
    assert "it does not wait for this any more" in answer.text
    assert await queue.find_row(tenant, waiting) == before


async def test_id_that_is_none_is_left_out(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await park(queue, tenant)
    fields = hidden_fields(await owner.get(PARKED), "/queue/unconfirmed")
    answer = await owner.submit("/queue/unconfirmed", **fields, email=["x", ""])
    assert answer.status_code == 200
    assert "Nothing was ticked" in answer.text


async def test_form_of_no_mode_is_refused(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (parked,) = await park(queue, tenant)
    fields = hidden_fields(await owner.get(PARKED), "/queue/unconfirmed")
    for wrong in ({"mode": "both"}, {"mode": ""}):
        answer = await owner.submit("/queue/unconfirmed", **{**fields, **wrong}, email=str(parked))
        assert answer.status_code == 422
    assert await queue.state(tenant, parked) == "ambiguous"


async def test_viewer_sees_the_queue_and_decides_nothing(
    viewer: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (parked,) = await park(queue, tenant)
    page = await viewer.get(PARKED)
    assert listed(page) == [parked]
    assert AGAIN not in page.text
    assert "<button" not in main(page).split("</header>")[1]
    answer = await viewer.submit_with_token(
        PARKED, "/queue/unconfirmed", mode="live", email=str(parked)
    )
    assert answer.status_code == 403
    assert await queue.state(tenant, parked) == "ambiguous"


async def test_another_tenants_queue_is_neither_seen_nor_changed(
    owner: Browser,
    other_owner: Browser,
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    (theirs,) = await park(queue, other_tenant)
    await queue.add(other_tenant, subject="Not yours")
    (own,) = await park(queue, tenant)
    assert listed(await owner.get("/queue")) == [own]
    assert "Waiting 0" in links(await owner.get("/queue"))
    before = await queue.snapshot(other_tenant)
    answer = await tick(owner, theirs)
    assert "0 recipients of 0 emails back in the queue" in words(main(answer))
    assert await queue.snapshot(other_tenant) == before
    assert listed(await other_owner.get(PARKED)) == [theirs]


async def test_dead_letters_are_one_tab_away(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, subject="Given up")
    await let_fail(queue, tenant)
    page = await owner.get("/queue")
    assert "Given up" not in main(page)
    assert "Given up" in (await owner.get(links(page)["Dead letters"])).text
