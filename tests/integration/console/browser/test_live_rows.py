"""A live list in use: nothing moves under the pointer, and everybody hears of what is new."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.integration.console.browser.live_pages import (
    ROWS,
    cut,
    hear_of_leaving,
    open_list,
    open_live,
    wait_for_swap,
)
from tests.integration.console.browser.stocks import Stock, leave_queue, set_status
from tests.integration.console.mail import accept
from tests.support.database import Database, SeededTenant


@pytest.fixture
async def pending(owner_page: Page, console_url: str, stocked: Stock) -> Page:
    """The live list of an email that is delayed, and below it of one that is queued."""
    await open_live(owner_page, f"{console_url}/emails?q=status:queued+status:deferred")
    await expect(owner_page.locator(ROWS)).to_have_count(2)
    return owner_page


async def test_row_that_leaves_moves_no_other_under_the_pointer(
    pending: Page, database: Database, tenant: SeededTenant, stocked: Stock
) -> None:
    await pending.locator(ROWS).last.hover()
    await set_status(database, tenant, stocked.emails["deferred"], "sent")
    await hear_of_leaving(pending, stocked.emails["deferred"])
    await expect(pending.locator(ROWS)).to_have_count(2)
    await pending.get_by_role("heading", name="Emails").hover()
    await expect(pending.locator(ROWS)).to_have_count(1)


async def test_nor_does_it_while_the_keyboard_is_in_the_list(
    pending: Page, database: Database, tenant: SeededTenant, stocked: Stock
) -> None:
    await pending.keyboard.press("j")
    await pending.keyboard.press("j")
    await set_status(database, tenant, stocked.emails["deferred"], "sent")
    await hear_of_leaving(pending, stocked.emails["deferred"])
    await expect(pending.locator(ROWS)).to_have_count(2)
    await pending.keyboard.press("/")
    await expect(pending.locator(ROWS)).to_have_count(1)


async def test_ticked_row_stays_until_it_is_unticked(
    owner_page: Page, console_url: str, database: Database, tenant: SeededTenant, stocked: Stock
) -> None:
    await open_live(owner_page, f"{console_url}/queue?only=ambiguous")
    box = owner_page.get_by_role("checkbox")
    await box.check()
    await owner_page.get_by_role("heading", name="Queue").hover()
    await leave_queue(database, tenant, stocked.emails["unconfirmed"])
    await hear_of_leaving(owner_page, stocked.emails["unconfirmed"])
    await expect(box).to_be_checked()
    await box.uncheck()
    await owner_page.get_by_role("heading", name="Queue").hover()
    await expect(box).to_have_count(0)


async def test_change_that_moves_no_row_is_shown_under_the_pointer_too(
    pending: Page, database: Database, tenant: SeededTenant, stocked: Stock
) -> None:
    row = pending.locator(ROWS).last
    await row.hover()
    await set_status(database, tenant, stocked.emails["queued"], "deferred")
    await expect(row).to_contain_text("Deferred")


async def test_new_email_is_announced(
    owner_page: Page, console_url: str, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await open_list(owner_page, console_url)
    await accept(database, tmp_path, tenant, "Just now")
    await expect(owner_page.locator("#announcer")).to_have_text("1 new email")


async def test_emails_that_are_held_are_announced_too(
    owner_page: Page,
    console_url: str,
    database: Database,
    tenant: SeededTenant,
    stocked: Stock,
    tmp_path: Path,
) -> None:
    await open_list(owner_page, console_url)
    await owner_page.get_by_role("button", name="Pause live updates").click()
    # So that the page hears of both at once.
    await cut(owner_page)
    await accept(database, tmp_path, tenant, "One", "Two")
    await owner_page.context.set_offline(False)
    await expect(owner_page.get_by_role("button", name="2 new")).to_be_visible()
    await expect(owner_page.locator("#announcer")).to_have_text("2 new emails")


async def test_button_copies_after_its_part_of_the_page_was_replaced(
    owner_page: Page, console_url: str
) -> None:
    await owner_page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await open_list(owner_page, console_url)
    await wait_for_swap(owner_page)
    await owner_page.get_by_role("button", name="Copy").click()
    await expect(owner_page.locator("#announcer")).to_have_text("Copied")
    copied = await owner_page.evaluate("navigator.clipboard.readText()")
    assert copied == await owner_page.locator("#first-email").text_content()
