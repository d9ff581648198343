"""A real browser at a running console, signed in or not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.integration.console.browser.stocks import Stock, stock
from tests.integration.console.conftest import OPERATOR, OWNER
from tests.integration.people.samples import PASSWORD
from tests.support.chromium import run_chromium, watch_violations
from tests.support.database import Database, SeededTenant


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    async with run_chromium() as browser:
        yield browser


@pytest.fixture
async def context(chromium: Browser) -> BrowserContext:
    """Cookies and storage of their own."""
    context = await chromium.new_context()
    await watch_violations(context)
    return context


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    """A page on which nothing is open."""
    return await context.new_page()


@pytest.fixture
async def owner_page(page: Page, console_url: str) -> Page:
    """The first tenant's owner, at the start page."""
    await sign_in(page, console_url, OWNER)
    return page


@pytest.fixture
async def operator_page(page: Page, console_url: str) -> Page:
    """An operator, at the overview."""
    await sign_in(page, console_url, OPERATOR)
    return page


@pytest.fixture
async def stocked(database: Database, people: None, tenant: SeededTenant, tmp_path: Path) -> Stock:
    """Emails in many states, messages, and dead letters."""
    return await stock(database, tmp_path, tenant)


async def sign_in(page: Page, url: str, email: str) -> None:
    """Go to the form, fill it in, and wait for the start page."""
    await page.goto(f"{url}/login")
    await fill_in_sign_in(page, email)


async def fill_in_sign_in(page: Page, email: str) -> None:
    """Fill in the form that is open and wait for the page that it leads to."""
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.locator("header.rail").wait_for()
