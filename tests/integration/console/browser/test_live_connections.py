"""A live page that loses its connection, or its right to one."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import pytest
from playwright.async_api import Page, Route, expect

from tallypost_console import live, services
from tallypost_console.live import LiveViews
from tests.integration.console.browser.conftest import fill_in_sign_in
from tests.integration.console.browser.live_pages import cut, end_stream, open_list
from tests.integration.console.conftest import OWNER
from tests.support.database import SeededTenant

Handler: TypeAlias = Callable[[Route], Awaitable[None]]

STREAM = "**/emails/live*"


async def fail(route: Route) -> None:
    await route.abort()


async def be_away(route: Route) -> None:
    await route.fulfill(status=503)


async def name_another_tenant(route: Route) -> None:
    await route.fulfill(status=409)


async def open_tenant(page: Page, url: str, tenant: SeededTenant) -> None:
    """Press the tenant's button in the operators' list."""
    await page.goto(f"{url}/tenants")
    await page.locator(f"form[action='/tenants/{tenant.id}/open'] button").click()
    await page.locator(".tenant").wait_for()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for who still may more often than people need it."""
    monkeypatch.setattr(services, "LiveViews", partial(LiveViews, heartbeat_s=0.2))


async def test_page_whose_session_ended_goes_to_sign_in_and_comes_back(
    owner_page: Page, console_url: str
) -> None:
    await open_list(owner_page, console_url)
    elsewhere = await owner_page.context.new_page()
    await elsewhere.goto(console_url)
    await elsewhere.locator(".who summary").click()
    await elsewhere.get_by_role("button", name="Sign out").click()
    await owner_page.wait_for_url("**/login?then=%2Femails")
    await fill_in_sign_in(owner_page, OWNER)
    await owner_page.wait_for_url("**/emails")


async def test_page_beyond_those_that_may_be_live_says_why_and_waits_for_its_turn(
    owner_page: Page, console_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS", 1)
    await open_list(owner_page, console_url)
    other = await owner_page.context.new_page()
    await other.goto(f"{console_url}/emails")
    await expect(other.locator("#live")).to_contain_text(
        "Not live: five pages of yours are live already; close one"
    )
    await owner_page.close()
    await other.locator("#live.on").wait_for()


@pytest.mark.parametrize("trouble", [fail, be_away])
async def test_page_whose_first_connection_fails_tries_again(
    owner_page: Page, console_url: str, trouble: Handler
) -> None:
    await owner_page.route(STREAM, trouble)
    await owner_page.goto(f"{console_url}/emails")
    await expect(owner_page.get_by_text("Reconnecting")).to_be_visible()
    await owner_page.unroute(STREAM)
    await owner_page.locator("#live.on").wait_for()


async def test_page_shows_the_tenant_that_an_operator_opened_elsewhere(
    operator_page: Page, console_url: str, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await open_tenant(operator_page, console_url, tenant)
    await open_list(operator_page, console_url)
    first = await operator_page.locator(".tenant").text_content()
    assert first
    await open_tenant(await operator_page.context.new_page(), console_url, other_tenant)
    await expect(operator_page.locator(".tenant")).not_to_have_text(first)
    await operator_page.locator("#live.on").wait_for()


async def test_page_of_a_tenant_that_is_not_open_any_more_is_loaded_again(
    owner_page: Page, console_url: str
) -> None:
    await open_list(owner_page, console_url)
    await owner_page.route(STREAM, name_another_tenant, times=1)
    async with owner_page.expect_event("load"):
        await end_stream(owner_page)
    await owner_page.locator("#live.on").wait_for()


async def test_so_is_one_whose_tenant_changed_before_it_was_live(
    owner_page: Page, console_url: str
) -> None:
    await owner_page.route(STREAM, name_another_tenant, times=1)
    async with owner_page.expect_event("load"):
        await owner_page.goto(f"{console_url}/emails", wait_until="commit")
    await owner_page.locator("#live.on").wait_for()


async def test_page_that_goes_on_while_it_has_no_connection_does_not_say_live(
    owner_page: Page, console_url: str
) -> None:
    await open_list(owner_page, console_url)
    pause = owner_page.get_by_role("button", name="Pause live updates")
    await cut(owner_page)
    await pause.click()
    await expect(pause).to_have_attribute("aria-pressed", "true")
    await pause.click()
    await expect(pause).to_have_attribute("aria-pressed", "false")
    await expect(owner_page.locator("#live-word")).to_have_text("Reconnecting")
    await expect(owner_page.locator("#live.on")).to_have_count(0)
    await owner_page.context.set_offline(False)
    await expect(owner_page.locator("#live-word")).to_have_text("Live")


async def test_page_that_is_paused_stays_so_when_it_is_connected_again(
    owner_page: Page, console_url: str
) -> None:
    await open_list(owner_page, console_url)
    await owner_page.keyboard.press("p")
    await expect(owner_page.locator("#live-word")).to_have_text("Paused")
    await cut(owner_page)
    await owner_page.context.set_offline(False)
    await expect(owner_page.locator("#live-word")).to_have_text("Paused")
