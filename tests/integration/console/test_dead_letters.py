"""Dead letters: what is said of each, and finding those that somebody looks for."""

import html
from uuid import UUID

import httpx
import pytest

from tallypost_console.pages import dead_letters as page_of_letters
from tallypost_core import clock
from tests.integration.console.letters import LIST, bury, matching, press
from tests.integration.console.reading import hidden_fields, links, listed, main, words
from tests.integration.console.running import Browser
from tests.integration.queue.harness import Harness, hours
from tests.integration.queue.people import Person, let_fail
from tests.support.database import SeededTenant


async def find(browser: Browser, **given: str) -> httpx.Response:
    """Submit the form that narrows the list."""
    return await browser.client.get(LIST, params=given)


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
            assert matching(page).params[name] == value
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


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("since", "soon", "Write a date such as 2026-11-26."),
        ("until", "2026-13-01", "Write a date such as 2026-11-26."),
        ("until", "12026-01-01", "Write a date such as 2026-11-26."),
        ("domain", "no domain", "Write a domain such as example.com."),
        ("domain", "ada@r.test", "Write a domain such as example.com."),
        ("domain", "a>@r.test", "Write a domain such as example.com."),
        ("domain", "a\0b.test", "Write a domain such as example.com."),
    ],
)
async def test_what_makes_no_sense_is_said_at_its_field_and_the_form_is_kept(
    owner: Browser, queue: Harness, tenant: SeededTenant, name: str, value: str, said: str
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    page = await find(owner, **{"mode": "live", "stream": "bulk", name: value})
    assert page.status_code == 422
    assert f'id="{name}-error">{said}' in page.text
    assert f'value="{html.escape(value)}"' in page.text
    assert '<option value="bulk" selected>' in page.text
    assert "<table" not in page.text
    assert "No dead letter" not in page.text


async def test_domain_is_found_in_whichever_script_it_is_written(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, to="ada@xn--bcher-kva.test")
    for domain in ("bücher.test", "BÜCHER.test", "xn--bcher-kva.test"):
        page = await find(owner, domain=domain)
        assert len(listed(page)) == 1, domain
        assert f'value="{domain}"' in page.text


async def test_letters_of_one_email_can_be_seen_alone(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (wanted,) = await queue.add(tenant, to=["ada@r.test", "bo@r.test"], subject="This one")
    await let_fail(queue, tenant)
    (other,) = await bury(queue, tenant, to="eve@r.test")
    page = await find(owner, email=str(wanted))
    assert len(listed(page)) == 2
    assert "eve@r.test" not in page.text
    assert links(page)["one email"] == f"/emails/{wanted}"
    assert hidden_fields(page, LIST)["email"] == str(wanted)
    answer = await press(owner, page)
    assert "2 recipients back in the queue" in words(main(answer))
    assert await queue.state(tenant, wanted) == "waiting"
    assert await queue.state(tenant, other) is None


async def test_letters_of_another_tenants_email_are_none(
    owner: Browser, queue: Harness, other_tenant: SeededTenant
) -> None:
    (theirs,) = await bury(queue, other_tenant, to="bo@theirs.test")
    page = await find(owner, email=str(theirs))
    assert page.status_code == 200
    assert "No dead letter matches" in page.text


async def test_page_beyond_the_last_letter_says_so_and_leads_back(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    (letter,) = listed(await owner.get(LIST))
    for given in ({}, {"stream": "transactional"}):
        page = await find(owner, **given, after=str(letter))
        assert "Nothing beyond this point" in page.text
        assert "No dead letter" not in page.text
        first = await owner.get(links(page)["Show the first page"])
        assert listed(first) == [letter]


@pytest.mark.parametrize("name", ["cause", "stream"])
async def test_text_that_no_letter_can_have_is_named(
    owner: Browser, queue: Harness, tenant: SeededTenant, name: str
) -> None:
    await bury(queue, tenant, to="ada@r.test")
    page = await find(owner, **{name: "a\0b"})
    assert page.status_code == 422
    assert f"`{name}` holds a character that cannot be stored." in page.text


async def test_another_tenants_letters_are_not_seen_and_not_counted(
    owner: Browser, queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await bury(queue, other_tenant, 2, to="bo@theirs.test")
    assert "No dead letters" in (await owner.get(LIST)).text
    await bury(queue, tenant, to="ada@r.test")
    page = await owner.get(LIST)
    assert len(listed(page)) == 1
    assert "Requeue all 1" in words(main(page))
    assert "theirs.test" not in page.text
    assert listed(await find(owner, domain="theirs.test")) == []
