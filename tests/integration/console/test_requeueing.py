"""Dead letters on their way back: those that were ticked, or all that match, step by step."""

from collections.abc import Collection
from uuid import UUID, uuid4

import httpx
import pytest

from tallypost_console.pages import dead_letters as page_of_letters
from tallypost_domain.suppressions.service import suppress
from tests.integration.console.letters import LIST, MATCHING, REQUEUE, bury, matching, press
from tests.integration.console.reading import hidden_fields, links, listed, main, words
from tests.integration.console.running import Browser, form_token
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import let_fail
from tests.support.database import PEPPERS, SeededTenant


async def tick(browser: Browser, letters: Collection[UUID]) -> httpx.Response:
    """Tick these and press the button."""
    fields = hidden_fields(await browser.get(LIST), REQUEUE)
    return await browser.submit(REQUEUE, **fields, letter=[str(id_) for id_ in letters])


async def states(queue: Harness, tenant: SeededTenant, ids: Collection[UUID]) -> list[str | None]:
    """States of the emails' queue rows; None where there is none."""
    return [await queue.state(tenant, id_) for id_ in ids]


async def test_ticked_letters_go_back_and_no_others(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, 3, to="ada@r.test")
    first, second, third = listed(await owner.get(LIST))
    answer = await tick(owner, [first, third])
    assert answer.status_code == 200
    assert "2 recipients of 2 emails back in the queue" in words(main(answer))
    assert listed(await owner.get(LIST)) == [second]


async def test_ticked_letters_lead_back_to_the_page_that_they_were_ticked_on(
    owner: Browser, queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of_letters, "PAGE_SIZE", 1)
    await bury(queue, tenant, 2, to="ada@first.test")
    path = links(await owner.get(f"{LIST}?domain=first.test"))["Older"]
    page = await owner.get(path)
    ticked = [str(id_) for id_ in listed(page)]
    answer = await owner.submit(REQUEUE, **hidden_fields(page, REQUEUE), letter=ticked)
    assert links(answer)["Back to the list"] == path
    # What was answered to a form has no address to come back to.
    assert hidden_fields(answer, "/theme")["then"] == path


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
    page = await owner.get(f"{LIST}?domain=first.test")
    assert "2 recipients go back into the queue" in words(main(page))
    answer = await press(owner, page)
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
        page = await press(owner, page)
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
    first = await press(owner, page)
    assert 'hx-trigger="load delay:100ms" hx-target="#progress"' in first.text
    answer = await owner.client.post(
        matching(first),
        data={"form_token": form_token(first)},
        headers={"origin": owner.origin, "hx-request": "true", "hx-target": "div#progress"},
    )
    assert "<html" not in answer.text
    assert "3 recipients back in the queue" in words(answer.text)


async def test_step_that_failed_goes_on_where_it_was(
    owner: Browser, queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of_letters, "MAX_STEP", 2)
    ids = await bury(queue, tenant, 5, to="ada@r.test")
    first = await press(owner, await owner.get(LIST))
    # Where the page about a failure leads: the address of the form.
    page = await owner.get(str(matching(first)))
    assert page.status_code == 200
    assert "2 recipients back in the queue" in words(main(page))
    assert 'max="5" value="2"' in page.text
    assert matching(page) == matching(first)
    # Whoever is led here by another page has not pressed anything.
    assert "hx-trigger" not in main(page)
    assert sorted(map(str, await states(queue, tenant, ids))) == ["None"] * 3 + ["waiting"] * 2
    page = await press(owner, page)
    assert "4 recipients back in the queue" in words(main(page))


async def test_step_of_another_tenant_does_not_go_on_in_this_one(
    owner: Browser,
    other_owner: Browser,
    queue: Harness,
    other_tenant: SeededTenant,
    tenant: SeededTenant,
) -> None:
    for each in (tenant, other_tenant):
        await bury(queue, each, to="ada@r.test")
    theirs = matching(await other_owner.get(LIST))
    assert (await owner.get(str(theirs))).status_code == 409


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
        page = await press(owner, page)
    said = words(main(page))
    assert "1 recipient back in the queue" in said
    assert "1 recipient left out" in said


async def test_what_failed_after_the_count_is_not_taken_along(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    page = await owner.get(LIST)
    (later,) = await bury(queue, tenant, to="bo@r.test")
    await press(owner, page)
    assert len(listed(await owner.get(LIST))) == 1
    assert await queue.state(tenant, later) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": "x"},
        {"start": ""},
        {"mode": "both"},
        {"since": "soon"},
        {"domain": "no domain"},
        {"email": "x"},
    ],
)
async def test_form_that_cannot_be_read_puts_nothing_back(
    owner: Browser, queue: Harness, tenant: SeededTenant, wrong: dict[str, str]
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    answer = await press(owner, await owner.get(LIST), **wrong)
    assert answer.status_code == 422
    assert len(listed(await owner.get(LIST))) == 1


@pytest.mark.parametrize("number", ["-1", "x", "9" * 50, ""])
async def test_numbers_of_a_form_that_are_none_count_as_none(
    owner: Browser, queue: Harness, tenant: SeededTenant, number: str
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    wrong = dict.fromkeys(("total", "requeued", "skipped"), number)
    answer = await press(owner, await owner.get(LIST), **wrong)
    assert "1 recipient back in the queue" in words(main(answer))
    assert 'max="1" value="1"' in answer.text


async def test_modes_are_kept_apart(owner: Browser, queue: Harness, tenant: SeededTenant) -> None:
    (test,) = await queue.add(tenant, mode="test")
    await let_fail(queue, tenant)
    assert listed(await owner.get(LIST)) == []
    page = await owner.get(f"{LIST}?mode=test")
    assert len(listed(page)) == 1
    await press(owner, page)
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
    step = f"{MATCHING}?mode=live&start={letter}"
    assert (await viewer.submit_with_token(LIST, step)).status_code == 403
    assert (await viewer.get(step)).status_code == 403
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
    await press(owner, page, start=str(UUID(int=2**128 - 1)))
    assert listed(await owner.get(LIST)) == []
    assert await queue.snapshot(other_tenant) == before
    assert listed(await other_owner.get(LIST)) == theirs


async def test_unknown_letter_is_left_out(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    answer = await tick(owner, [uuid4()])
    assert "1 recipient: it does not wait for this any more" in words(main(answer))
