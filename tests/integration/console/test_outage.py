"""The console while the database is away, and its health."""

from collections.abc import AsyncIterator

import httpx
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


async def submit(browser: Browser, path: str, **headers: str) -> httpx.Response:
    """Submit a form that has nothing in it."""
    browser.client.cookies.set("tallypost_session", TOKEN)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await browser.client.post(path, headers={"origin": browser.origin, **given})


async def test_form_that_failed_leads_back_to_the_page_that_it_stands_on(cut_off: Browser) -> None:
    referer = f"{cut_off.origin}/queue/dead-letters?mode=test&stream=bulk"
    answer = await submit(cut_off, "/queue/dead-letters/requeue", referer=referer)
    assert answer.status_code == 503
    assert 'href="/queue/dead-letters?mode=test&amp;stream=bulk">Try again' in answer.text


@pytest.mark.parametrize(
    "referer",
    ["", "https://evil.example//evil.example", "javascript:alert(1)", "{}/queue/unconfirmed"],
)
async def test_form_that_failed_leads_to_no_page_that_does_not_exist(
    cut_off: Browser, referer: str
) -> None:
    answer = await submit(cut_off, "/queue/unconfirmed", referer=referer.format(cut_off.origin))
    assert 'href="/">Try again' in answer.text


async def test_step_of_many_that_failed_leads_to_where_it_was(cut_off: Browser) -> None:
    path = "/queue/dead-letters/requeue-matching?start=7&requeued=2000"
    answer = await submit(cut_off, path, referer=f"{cut_off.origin}/queue/dead-letters")
    assert answer.status_code == 503
    assert f'href="{path.replace("&", "&amp;")}">Try again' in answer.text


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
