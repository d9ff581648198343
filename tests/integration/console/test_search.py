"""The list of emails narrowed to what somebody looks for: in the address, page by page."""

import html
import re
from uuid import UUID

import httpx
import pytest

from tallypost_console.pages.emails import PAGE_SIZE
from tallypost_domain.emails import search
from tests.integration.console.reading import links, listed, main, words
from tests.integration.console.running import Browser
from tests.integration.emails.every_status import add_every_status, add_with_outcome
from tests.integration.queue.harness import Harness
from tests.support.database import SeededTenant

QUICK = {
    "Waiting": {"queued", "held", "scheduled"},
    "Sent": {"sent", "delivered"},
    "Delayed": {"deferred", "unconfirmed"},
    "Bounced": {"bounced"},
    "Complained": {"complained"},
    "Failed": {"failed"},
    "Suppressed": {"suppressed"},
}


async def look(browser: Browser, q: str, **fields: str) -> httpx.Response:
    """Submit the form of the search, which puts its line into the address."""
    return await browser.client.get("/emails", params={"q": q, **fields})


def line(page: httpx.Response) -> str:
    """What stands in the box of the search."""
    found = re.search(r'<input id="q"[^>]* value="([^"]*)"', page.text)
    assert found is not None
    return html.unescape(found[1])


def chosen(page: httpx.Response) -> list[str]:
    """Quick filters that are marked as the present one."""
    filters = page.text.split('<nav class="filters"')[1].split("</nav>")[0]
    return [words(link) for link in re.findall(r'aria-current="true">(.*?)</a>', filters)]


async def test_each_term_narrows_the_list_and_the_box_keeps_the_line(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    tags = [{"name": "campaign", "value": "welcome"}]
    (wanted,) = await queue.add(tenant, to=["ada@r.test"], subject="Your order", tags=tags)
    (bulk,) = await queue.add_bulk(tenant, subject="News")
    await queue.add(tenant, subject="Something else")
    for typed, expected in (
        ("order", wanted),
        ('"your order"', wanted),
        ("ada@r.test", wanted),
        ("tag:campaign=welcome", wanted),
        (str(wanted), wanted),
        ("stream:bulk", bulk),
    ):
        page = await look(owner, typed)
        assert listed(page) == [expected], typed
        assert line(page) == typed


async def test_quick_filters_find_what_they_are_called(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    every = await add_every_status(queue, tenant)
    start = await owner.get("/emails")
    assert chosen(start) == ["All"]
    assert set(listed(start)) == set(every.values())
    for label, statuses in QUICK.items():
        page = await owner.get(links(start)[label])
        assert set(listed(page)) == {every[status] for status in statuses}, label
        assert chosen(page) == [label]


async def test_quick_filter_takes_the_place_of_a_status_and_keeps_all_other_terms(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await add_with_outcome(queue, tenant, "accepted", subject="Your order")
    bounced = await add_with_outcome(queue, tenant, "rejected", subject="Your order")
    await add_with_outcome(queue, tenant, "rejected", subject="News")
    page = await look(owner, "order status:sent from:hello@example.com")
    page = await owner.get(links(page)["Bounced"])
    assert listed(page) == [bounced]
    assert line(page) == "status:bounced from:hello@example.com order"
    page = await owner.get(links(page)["All"])
    assert line(page) == "from:hello@example.com order"
    assert len(listed(page)) == 2


async def test_filter_stays_in_its_mode(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, subject="Your order")
    (test,) = await queue.add(tenant, mode="test", subject="Your order")
    page = await look(owner, "order", mode="test")
    assert listed(page) == [test]
    assert '<input type="hidden" name="mode" value="test">' in page.text
    assert all("mode=test" in links(page)[label] for label in ("All", *QUICK))


async def test_where_nothing_matches_one_link_leads_back_to_all(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant, mode="test")
    page = await look(owner, "nothing-like-this", mode="test")
    assert page.status_code == 200
    assert "No email matches" in page.text
    assert links(page)["Show all emails"] == "/emails?mode=test"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("state:sent", "There is no term state:"),
        ("status:bouncd", "Did you mean bounced?"),
        ("after:tomorrow", "takes a date in UTC such as after:2026-11-20"),
        ('"not closed', "A quote is not closed"),
        ("to:nobody", "takes an address such as to:ada@example.com"),
        ("x" * 501, "A search has at most 500 characters"),
    ],
)
async def test_line_that_cannot_be_read_stays_in_the_box_with_what_is_wrong(
    owner: Browser, typed: str, said: str
) -> None:
    page = await look(owner, typed)
    assert page.status_code == 422
    assert line(page) == typed
    assert said in words(main(page))
    assert 'aria-invalid="true" aria-describedby="q-error"' in page.text
    assert links(page)["Show all emails"] == "/emails"
    assert "hx-sse:connect" not in page.text


@pytest.mark.parametrize("wrap", ["{}", "state:{}"])
async def test_what_was_typed_is_text_and_never_markup(owner: Browser, wrap: str) -> None:
    attack = wrap.format("\"><script>alert(1)</script>'")
    page = await look(owner, attack)
    assert "<script>" not in page.text
    assert line(page) == attack


async def test_pages_of_a_filter_lead_to_every_match_once_and_back(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    wanted: list[UUID] = []
    for _ in range(3):
        wanted += await queue.add(tenant, PAGE_SIZE // 2, subject="Your order")
        await queue.add(tenant, 5, subject="News")
    first = await look(owner, "order")
    second = await owner.get(links(first)["Older"])
    assert [*listed(first), *listed(second)] == wanted[::-1]
    assert line(second) == "order"
    assert "Older" not in links(second)
    assert listed(await owner.get(links(second)["Newer"])) == listed(first)
    assert listed(await owner.get(links(second)["Newest"])) == listed(first)


async def test_search_that_gave_up_says_how_far_it_came_and_goes_on_from_there(
    owner: Browser, queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_SCANNED", 4)
    (wanted,) = await queue.add(tenant, subject="Your order")
    await queue.add(tenant, 9, subject="News")
    page = await look(owner, "order")
    times = 0
    while not listed(page):
        assert "No email matches" in page.text
        assert "Searched back to" in page.text
        assert "Show all emails" not in links(page)
        page = await owner.get(links(page)["Search further back"])
        times += 1
        assert times < 5
    assert listed(page) == [wanted]
    assert times == 2
    assert line(page) == "order"


async def test_way_back_to_newer_ones_goes_on_where_it_gave_up_too(
    owner: Browser, queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_SCANNED", 4)
    (oldest,) = await queue.add(tenant, subject="Your order")
    await queue.add(tenant, 9, subject="News")
    (newest,) = await queue.add(tenant, subject="Your order")
    page = await owner.client.get("/emails", params={"q": "order", "before": str(oldest)})
    times = 0
    while not listed(page):
        assert "Newer ones were not all searched." in page.text
        page = await owner.get(links(page)["Search further on"])
        times += 1
        assert times < 5
    assert listed(page) == [newest]
    assert times == 2


async def test_list_without_a_filter_never_gives_up(
    owner: Browser, queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_SCANNED", 1)
    await queue.add(tenant, 3)
    page = await owner.get("/emails")
    assert len(listed(page)) == 3
    assert "Searched back to" not in page.text


async def test_nothing_of_another_tenant_is_found(
    owner: Browser, other_owner: Browser, queue: Harness, other_tenant: SeededTenant
) -> None:
    theirs = await add_with_outcome(
        queue, other_tenant, "rejected", to=["ada@r.test"], subject="Not yours"
    )
    for typed in ("yours", "ada@r.test", str(theirs), "status:bounced", "stream:transactional"):
        assert listed(await look(other_owner, typed)) == [theirs], typed
        page = await look(owner, typed)
        assert listed(page) == [], typed
        assert "No email matches" in page.text
