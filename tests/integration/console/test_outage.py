"""The console while the database is away, and its health."""

from collections.abc import AsyncIterator

import pytest

from tallypost_cli.ports import find_free_port
from tests.integration.console.conftest import OWNER
from tests.integration.console.running import Browser, open_browser, run_console
from tests.integration.people.samples import PASSWORD

TOKEN = "t" * 43


@pytest.fixture
async def cut_off() -> AsyncIterator[Browser]:
    """A browser at a console whose database does not answer."""
    url = f"postgresql://tp_console:x@127.0.0.1:{find_free_port()}/tallypost"
    async with run_console(url) as address, open_browser(address) as opened:
        yield opened


async def test_console_starts_without_its_database_and_is_not_ready(cut_off: Browser) -> None:
    assert (await cut_off.get("/health/live")).status_code == 200
    ready = await cut_off.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["checks"].keys() == {"database"}
    assert (await cut_off.get("/login")).status_code == 200


async def test_page_says_that_it_is_not_available_and_offers_to_try_again(
    cut_off: Browser,
) -> None:
    cut_off.client.cookies.set("tallypost_session", TOKEN)
    answer = await cut_off.get("/emails?mode=test")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "Not available right now" in answer.text
    assert 'href="/emails?mode=test">Try again' in answer.text
    assert "127.0.0.1" not in answer.text


async def test_signing_in_says_that_it_is_not_available(cut_off: Browser) -> None:
    answer = await cut_off.sign_in(OWNER, PASSWORD)
    assert answer.status_code == 503
    assert PASSWORD not in answer.text


async def test_console_with_its_database_is_ready_whatever_the_host_is_called(
    browser: Browser,
) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        answer = await browser.client.get(path, headers={"host": "10.0.0.7:8001"})
        assert answer.status_code == 200


async def test_requests_are_counted_by_route_and_never_by_address(owner: Browser) -> None:
    await owner.get("/emails/0123-secret")
    await owner.get("/nothing-here")
    metrics = (await owner.get("/metrics")).text
    assert 'route="/emails/{email_id}",status_class="4xx"' in metrics
    assert 'route="unmatched",status_class="4xx"' in metrics
    assert "secret" not in metrics
