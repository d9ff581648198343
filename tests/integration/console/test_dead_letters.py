"""Dead letters: finding them, and putting back those that were ticked or all that match."""

from collections.abc import Collection
from uuid import UUID, uuid4

import httpx
import pytest

from tallypost_console.pages import dead_letters as page_of_letters
from tallypost_core import clock
from tallypost_domain.suppressions.service import suppress
from tests.integration.console.reading import hidden_fields, links, listed, main, words
from tests.integration.console.running import Browser
from tests.integration.queue.harness import Harness, hours
from tests.integration.queue.people import Person, let_fail
from tests.support.database import PEPPERS, SeededTenant

LIST = "/queue/dead-letters"
REQUEUE = f"{LIST}/requeue"
MATCHING = f"{LIST}/requeue-matching"


async def bury(
    queue: Harness, tenant: SeededTenant, count: int = 1, *, lane: str = "transactional", to: str
) -> list[UUID]:
    """Emails to one address each that were given up; returns their ids."""
    add = queue.add_bulk if lane == "bulk" else queue.add
    ids = await add(tenant, count, to=[to], subject=f"To {to}")
    await let_fail(queue, tenant, lane=lane)
    return [*ids]


async def tick(browser: Browser, letters: Collection[UUID]) -> httpx.Response:
    """Tick these and press the button."""
    fields = hidden_fields(await browser.get(LIST), REQUEUE)
    return await browser.submit(REQUEUE, **fields, letter=[str(id_) for id_ in letters])


async def find(browser: Browser, **given: str) -> httpx.Response:
    """Submit the form that narrows the list."""
    return await browser.client.get(LIST, params=given)


async def states(queue: Harness, tenant: SeededTenant, ids: Collection[UUID]) -> list[str | None]:
    """States of the emails' queue rows; None where there is none."""
    return [await queue.state(tenant, id_) for id_ in ids]


async def test_letter_says_to_whom_why_and_what_was_answered_last(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    said = words(main(await owner.get(LIST)))
    assert "ada@r.test To ada@r.test Attempts exhausted: words of the peer 3" in said
    assert "May have arrived" not in said


async def test_letter_that_may_have_arrived_says_so(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add_bulk(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
    await Person(queue, tenant).resend(email_id)
    await let_fail(queue, tenant, lane="bulk")
    assert "May have arrived" in words(main(await owner.get(LIST)))


async def test_newest_comes_first_and_pages_lead_to_every_letter_once(
    owner: Browser, queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of_letters, "PAGE_SIZE", 2)
    await bury(queue, tenant, 5, to="ada@r.test")
    seen: list[UUID] = []
    path: str | None = LIST
    while path is not None:
        page = await owner.get(path)
        seen += listed(page)
        path = links(page).get("Older")
    assert len(seen) == 5
    assert seen == sorted(set(seen), reverse=True)
    assert listed(await owner.get(links(page)["Newest"])) == seen[:2]


async def test_filter_narrows_the_list_counts_it_and_stays_in_the_form(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, 2, to="ada@first.test")
    await bury(queue, tenant, to="bo@second.test", lane="bulk")
    today = clock.utc_now()
    tomorrow = f"{today + hours(24):%Y-%m-%d}"
    for given, count in (
        ({"domain": "First.Test "}, 2),
        ({"stream": "bulk"}, 1),
        ({"cause": "attempts_exhausted"}, 3),
        ({"since": f"{today:%Y-%m-%d}", "until": tomorrow}, 3),
        ({"domain": "first.test", "stream": "transactional"}, 2),
    ):
        page = await find(owner, **given)
        assert len(listed(page)) == count, given
        assert f"Requeue all {count} that match" in words(main(page))
        for name, value in given.items():
            assert hidden_fields(page, MATCHING)[name] == value
            assert f'value="{value}"' in page.text


@pytest.mark.parametrize(
    "given",
    [
        {"domain": "nowhere.test"},
        {"cause": "other"},
        {"stream": "bulk"},
        {"since": "2100-01-01"},
        {"until": "2000-01-01"},
        {"until": "0001-01-01"},
    ],
)
async def test_filter_that_nothing_matches_leads_back_to_all(
    owner: Browser, queue: Harness, tenant: SeededTenant, given: dict[str, str]
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    page = await find(owner, **given)
    assert page.status_code == 200
    assert "No dead letter matches" in page.text
    assert "<button" not in main(page).split("</form>")[1]
    assert links(page)["Show all of them"] == LIST


async def test_where_there_is_none_it_says_when_there_would_be(owner: Browser) -> None:
    page = await owner.get(f"{LIST}?mode=test")
    assert "An email lands here when" in page.text
    assert links(page)["See the queue"] == "/queue?mode=test"


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("value", ["soon", "2026-13-01", "26.11.2026"])
async def test_date_that_is_none_is_named_with_one_that_would_be(
    owner: Browser, name: str, value: str
) -> None:
    page = await find(owner, **{name: value})
    assert page.status_code == 422
    assert f"`{name}` is not a date such as 2026-11-26." in page.text
    assert value not in main(page)


@pytest.mark.parametrize("name", ["cause", "stream", "domain"])
async def test_text_that_no_letter_can_have_is_named(
    owner: Browser, queue: Harness, tenant: SeededTenant, name: str
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    page = await find(owner, **{name: "a\0b"})
    assert page.status_code == 422
    assert f"`{name}` holds a character that cannot be stored." in page.text


async def test_ticked_letters_go_back_and_no_others(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, 3, to="ada@r.test")
    first, second, third = listed(await owner.get(LIST))
    answer = await tick(owner, [first, third])
    assert answer.status_code == 200
    assert "2 recipients of 2 emails back in the queue" in words(main(answer))
    assert listed(await owner.get(LIST)) == [second]


async def test_pressing_twice_says_that_they_do_not_wait_any_more(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, 2, to="ada@r.test")
    first, _ = listed(await owner.get(LIST))
    await tick(owner, [first])
    said = words(main(await tick(owner, [first])))
    assert "0 recipients of 0 emails back in the queue" in said
    assert "1 recipient: it does not wait for this any more" in said


async def test_pressing_without_ticking_says_so(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    assert "Nothing was ticked" in (await tick(owner, [])).text
    assert len(listed(await owner.get(LIST))) == 1


async def test_what_is_left_out_says_why(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, to="blocked@r.test")
    await bury(queue, tenant, to="ada@r.test")
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(
            session, tenant.id, "live", "blocked@r.test", origin="manual", peppers=PEPPERS
        )
    said = words(main(await tick(owner, listed(await owner.get(LIST)))))
    assert "1 recipient of 1 email back in the queue" in said
    assert "1 recipient: the address is on the suppression list by now" in said
    assert "blocked@r.test" not in said


async def test_all_that_match_go_back_after_their_number_was_said(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    wanted = await bury(queue, tenant, 2, to="ada@first.test")
    (other,) = await bury(queue, tenant, to="bo@second.test")
    page = await find(owner, domain="first.test")
    assert "2 recipients go back into the queue" in words(main(page))
    answer = await owner.submit(MATCHING, **hidden_fields(page, MATCHING))
    assert answer.status_code == 200
    assert "2 recipients back in the queue" in words(main(answer))
    assert "Go on" not in answer.text
    assert await states(queue, tenant, wanted) == ["waiting", "waiting"]
    assert await queue.state(tenant, other) is None
    assert links(answer)["Dead letters"] == f"{LIST}?domain=first.test"


async def test_many_go_back_in_steps_each_of_which_says_how_far_it_is(
    owner: Browser, queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of_letters, "MAX_STEP", 2)
    ids = await bury(queue, tenant, 5, to="ada@r.test")
    page = await owner.get(LIST)
    for done, rest in ((2, True), (4, True), (5, False)):
        page = await owner.submit(MATCHING, **hidden_fields(page, MATCHING))
        assert f"{done} recipients back in the queue" in words(main(page))
        assert f'max="5" value="{done}"' in page.text
        assert ("Go on" in page.text) == rest
    assert await states(queue, tenant, ids) == ["waiting"] * 5
    assert listed(await owner.get(LIST)) == []


async def test_steps_go_on_by_themselves_within_the_page(
    owner: Browser, queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of_letters, "MAX_STEP", 2)
    await bury(queue, tenant, 3, to="ada@r.test")
    page = await owner.get(LIST)
    first = await owner.submit(MATCHING, **hidden_fields(page, MATCHING))
    assert 'hx-trigger="load delay:100ms" hx-target="#progress"' in first.text
    answer = await owner.client.post(
        MATCHING,
        data=hidden_fields(first, MATCHING),
        headers={"origin": owner.origin, "hx-request": "true", "hx-target": "div#progress"},
    )
    assert "<html" not in answer.text
    assert "3 recipients back in the queue" in words(answer.text)


async def test_steps_count_what_they_leave_out(
    owner: Browser, queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of_letters, "MAX_STEP", 1)
    for to in ("ada@r.test", "blocked@r.test"):
        await bury(queue, tenant, to=to)
    async with queue.database.session("tp_cli", tenant.id) as session:
        await suppress(
            session, tenant.id, "live", "blocked@r.test", origin="manual", peppers=PEPPERS
        )
    page = await owner.get(LIST)
    for _ in range(2):
        page = await owner.submit(MATCHING, **hidden_fields(page, MATCHING))
    said = words(main(page))
    assert "1 recipient back in the queue" in said
    assert "1 recipient left out" in said


async def test_what_failed_after_the_count_is_not_taken_along(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    page = await owner.get(LIST)
    (later,) = await bury(queue, tenant, to="bo@r.test")
    await owner.submit(MATCHING, **hidden_fields(page, MATCHING))
    assert len(listed(await owner.get(LIST))) == 1
    assert await queue.state(tenant, later) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": "x"},
        {"start": ""},
        {"mode": "both"},
        {"since": "soon"},
    ],
)
async def test_form_that_cannot_be_read_puts_nothing_back(
    owner: Browser, queue: Harness, tenant: SeededTenant, wrong: dict[str, str]
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    fields = hidden_fields(await owner.get(LIST), MATCHING)
    answer = await owner.submit(MATCHING, **{**fields, **wrong})
    assert answer.status_code == 422
    assert len(listed(await owner.get(LIST))) == 1


@pytest.mark.parametrize("number", ["-1", "x", "9" * 50, ""])
async def test_numbers_of_a_form_that_are_none_count_as_none(
    owner: Browser, queue: Harness, tenant: SeededTenant, number: str
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    fields = hidden_fields(await owner.get(LIST), MATCHING)
    wrong = dict.fromkeys(("total", "requeued", "skipped"), number)
    answer = await owner.submit(MATCHING, **{**fields, **wrong})
    assert "1 recipient back in the queue" in words(main(answer))
    assert 'max="1" value="1"' in answer.text


async def test_modes_are_kept_apart(owner: Browser, queue: Harness, tenant: SeededTenant) -> None:
    (test,) = await queue.add(tenant, mode="test")
    await let_fail(queue, tenant)
    assert listed(await owner.get(LIST)) == []
    page = await owner.get(f"{LIST}?mode=test")
    assert len(listed(page)) == 1
    await owner.submit(MATCHING, **hidden_fields(page, MATCHING))
    assert await queue.state(tenant, test) == "waiting"


async def test_viewer_sees_letters_and_puts_none_back(
    viewer: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    page = await viewer.get(LIST)
    (letter,) = listed(page)
    assert "Requeue" not in main(page)
    answer = await viewer.submit_with_token(LIST, REQUEUE, mode="live", letter=str(letter))
    assert answer.status_code == 403
    answer = await viewer.submit_with_token(LIST, MATCHING, mode="live", start=str(letter))
    assert answer.status_code == 403
    assert listed(await viewer.get(LIST)) == [letter]


async def test_another_tenants_letters_are_neither_seen_nor_put_back(
    owner: Browser,
    other_owner: Browser,
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    await bury(queue, other_tenant, 2, to="bo@theirs.test")
    await bury(queue, tenant, to="ada@r.test")
    theirs = listed(await other_owner.get(LIST))
    page = await owner.get(LIST)
    assert len(listed(page)) == 1
    assert "theirs.test" not in page.text
    before = await queue.snapshot(other_tenant)
    answer = await tick(owner, theirs)
    assert "2 recipients: it does not wait for this any more" in words(main(answer))
    fields = {**hidden_fields(page, MATCHING), "start": str(UUID(int=2**128 - 1))}
    await owner.submit(MATCHING, **fields)
    assert listed(await owner.get(LIST)) == []
    assert await queue.snapshot(other_tenant) == before
    assert listed(await other_owner.get(LIST)) == theirs


async def test_unknown_letter_is_left_out(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    answer = await tick(owner, [uuid4()])
    assert "1 recipient: it does not wait for this any more" in words(main(answer))
