"""Live pages over HTTP: what comes, when it ends, and what nobody else hears."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from tallypost_console import services
from tallypost_console.live import MAX_STREAMS, LiveViews
from tallypost_core.ids import new_id
from tests.integration.console.conftest import BILLING, OWNER
from tests.integration.console.following import Following, follow
from tests.integration.console.mail import accept
from tests.integration.console.running import Browser, form_token, open_browser, run_console
from tests.integration.people.samples import PASSWORD
from tests.integration.queue.harness import Harness
from tests.support.database import Database, SeededTenant

TENANT_STREAMS = ("/home/live", "/emails/live", "/queue/live")
_POLL_S = 0.02


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for changes, and for who still may, more often than people need it."""
    views = partial(LiveViews, interval_s=0.05, heartbeat_s=0.2)
    monkeypatch.setattr(services, "LiveViews", views)


async def open_many(stack: AsyncExitStack, browser: Browser, count: int) -> list[Following]:
    """Follow so many pages, all of which have begun."""
    streams = [
        await stack.enter_async_context(follow(browser, "/emails/live")) for _ in range(count)
    ]
    for stream in streams:
        assert await stream.next() is not None
    return streams


@pytest.mark.parametrize("path", TENANT_STREAMS)
async def test_first_message_is_the_part_of_the_page_as_it_is_now(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path, path: str
) -> None:
    await accept(database, tmp_path, tenant, "Just now")
    async with follow(owner, path) as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-content-type-options"] == "nosniff"
        message = await stream.next()
    assert message is not None
    assert "Just now" in message.data
    assert "<html" not in message.data


@pytest.mark.parametrize("path", TENANT_STREAMS)
async def test_change_is_sent_as_soon_as_it_is_seen(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path, path: str
) -> None:
    async with follow(owner, path) as stream:
        first = await stream.next()
        assert first is not None
        await accept(database, tmp_path, tenant, "Just now")
        assert (await stream.until("Just now")).id != first.id


async def test_what_happens_to_an_email_is_sent_to_its_page(
    owner: Browser, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    async with follow(owner, f"/emails/{email_id}/live") as stream:
        assert "a worker will take it" in (await stream.until("Timeline")).data
        worker = await queue.start_worker()
        (claim,) = await queue.hand_over(worker, tenant)
        await queue.record(worker, await queue.settle(worker, claim, "accepted"))
        await stream.until("The provider has taken it")


async def test_overview_is_sent_to_operators(operator: Browser, queue: Harness) -> None:
    async with follow(operator, "/overview/live") as stream:
        assert "none is running" in (await stream.until("Workers")).data
        await queue.start_worker()
        await stream.until('<span class="value">1</span>')


async def test_only_what_matches_the_filter_is_sent(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with follow(owner, "/emails/live?q=order") as stream:
        assert "No email matches" in (await stream.until("No email")).data
        await accept(database, tmp_path, tenant, "News", "Your order")
        assert "News" not in (await stream.until("Your order")).data


async def test_page_that_comes_back_gets_only_what_it_does_not_have(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with follow(owner, "/emails/live") as stream:
        first = await stream.next()
    assert first is not None
    async with follow(owner, "/emails/live", last_id=first.id) as stream:
        await stream.hear_beat()
        await accept(database, tmp_path, tenant, "In the meantime")
        second = await stream.next()
    assert second is not None
    assert "In the meantime" in second.data
    async with follow(owner, "/emails/live", last_id=first.id) as stream:
        assert await stream.next() == second


async def test_stream_without_news_says_that_it_is_alive(owner: Browser) -> None:
    async with follow(owner, "/emails/live") as stream:
        await stream.next()
        for _ in range(3):
            await stream.hear_beat()


async def test_sixth_page_of_a_person_is_told_why_it_is_not_live(
    owner: Browser, other_owner: Browser
) -> None:
    async with AsyncExitStack() as stack:
        await open_many(stack, owner, MAX_STREAMS)
        answer = await owner.client.get("/emails/live", headers={"hx-request": "true"})
        assert answer.status_code == 429
        assert "Five pages of yours are live already" in answer.text
        assert "<html" not in answer.text
        # Nobody else has fewer for it.
        await open_many(stack, other_owner, MAX_STREAMS)


async def test_page_that_was_closed_makes_room_for_another(owner: Browser) -> None:
    async with AsyncExitStack() as stack:
        await open_many(stack, owner, MAX_STREAMS - 1)
        async with follow(owner, "/queue/live") as stream:
            await stream.next()
        async with asyncio.timeout(30):
            # The console hears of it in its own time.
            while True:
                async with owner.client.stream("GET", "/queue/live") as answer:
                    if answer.status_code == 200:
                        break
                await asyncio.sleep(_POLL_S)


async def test_stream_ends_when_its_person_signs_out(owner: Browser) -> None:
    token = form_token(await owner.get("/emails"))
    async with follow(owner, "/emails/live") as stream:
        assert await stream.next() is not None
        await owner.submit("/logout", form_token=token)
        assert await stream.next() is None


async def test_signing_out_in_one_browser_ends_no_stream_of_another(
    owner: Browser, console_url: str, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with open_browser(console_url) as elsewhere, follow(owner, "/emails/live") as stream:
        await elsewhere.sign_in(OWNER, PASSWORD)
        await elsewhere.submit_with_token("/emails", "/logout")
        await stream.next()
        await stream.hear_beat()
        await stream.hear_beat()
        await accept(database, tmp_path, tenant, "Still here")
        await stream.until("Still here")


async def test_stream_ends_when_an_operator_opens_another_tenant(
    operator: Browser, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await operator.submit_with_token("/tenants", f"/tenants/{tenant.id}/open")
    async with follow(operator, "/emails/live") as stream:
        assert await stream.next() is not None
        await operator.submit_with_token("/tenants", f"/tenants/{other_tenant.id}/open")
        assert await stream.next() is None


@pytest.mark.parametrize("path", TENANT_STREAMS)
async def test_nothing_of_another_tenant_is_sent(
    owner: Browser,
    other_owner: Browser,
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    path: str,
) -> None:
    async with follow(owner, path) as own, follow(other_owner, path) as theirs:
        await accept(database, tmp_path, other_tenant, "Not yours")
        await theirs.until("Not yours")
        await accept(database, tmp_path, tenant, "Your own")
        seen = ""
        while "Your own" not in seen:
            message = await own.next()
            assert message is not None
            seen += message.data
        assert "Not yours" not in seen


async def test_email_of_another_tenant_and_an_unknown_one_have_no_stream(
    owner: Browser, database: Database, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    (theirs,) = await accept(database, tmp_path, other_tenant, "Not yours")
    for id_ in (theirs, new_id(), "no-id"):
        assert (await owner.get(f"/emails/{id_}/live")).status_code == 404


@pytest.mark.parametrize("path", [*TENANT_STREAMS, "/overview/live"])
async def test_role_without_the_permission_has_no_stream(browser: Browser, path: str) -> None:
    await browser.sign_in(BILLING, PASSWORD)
    answer = await browser.get(path)
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/emails/live?q=state:sent", 422),
        ("/emails/live?mode=other", 400),
        ("/queue/live?only=lost", 400),
    ],
)
async def test_address_that_makes_no_sense_has_no_stream(
    owner: Browser, path: str, status: int
) -> None:
    assert (await owner.get(path)).status_code == status


async def test_shutting_down_ends_all_streams_in_order(database: Database, people: None) -> None:
    async with AsyncExitStack() as stack:
        console = run_console(database.url("tp_console"))
        url = await console.__aenter__()
        browser = await stack.enter_async_context(open_browser(url))
        await browser.sign_in(OWNER, PASSWORD)
        streams = await open_many(stack, browser, 3)
        ends = asyncio.gather(*(stream.next() for stream in streams))
        await console.__aexit__(None, None, None)
        assert await ends == [None] * 3
