"""Everything by keyboard alone: no test here touches the mouse."""

from playwright.async_api import Page, expect

from tests.integration.console.browser.stocks import Stock
from tests.integration.console.conftest import OWNER
from tests.integration.people.samples import PASSWORD


async def test_from_sign_in_to_the_page_of_an_email(
    page: Page, console_url: str, stocked: Stock
) -> None:
    await page.goto(f"{console_url}/login?then=/emails")
    await expect(page.get_by_label("E-mail address")).to_be_focused()
    await page.keyboard.type(OWNER)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.locator("#live.on").wait_for()
    await page.keyboard.press("/")
    await page.keyboard.type("bounced@recipient.test")
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-row]")).to_have_count(1)
    await page.locator("#live.on").wait_for()
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/emails/{stocked.emails['bounced']}")
    await expect(page.locator(".why")).to_contain_text("There is no such mailbox")


async def test_shortcuts_are_listed_and_lead_to_pages(owner_page: Page, stocked: Stock) -> None:
    await owner_page.locator("#live.on").wait_for()
    await owner_page.keyboard.press("?")
    await expect(owner_page.get_by_role("dialog")).to_be_visible()
    await owner_page.keyboard.press("Escape")
    await expect(owner_page.get_by_role("dialog")).to_be_hidden()
    for keys, path in (("ge", "**/emails"), ("gq", "**/queue"), ("gk", "**/api-keys")):
        for key in keys:
            await owner_page.keyboard.press(key)
        await owner_page.wait_for_url(path)
        await owner_page.wait_for_function("(name) => name in window", arg="htmx")


async def test_letters_in_a_field_are_no_shortcuts(owner_page: Page, console_url: str) -> None:
    await owner_page.goto(f"{console_url}/emails")
    await owner_page.locator("#live.on").wait_for()
    await owner_page.keyboard.press("/")
    await owner_page.keyboard.type("gq?/")
    await expect(owner_page.locator("#q")).to_have_value("gq?/")
    await expect(owner_page.get_by_role("dialog")).to_be_hidden()


async def test_skip_link_leads_past_the_rail(owner_page: Page) -> None:
    await owner_page.keyboard.press("Tab")
    await owner_page.keyboard.press("Enter")
    await expect(owner_page.locator("main")).to_be_focused()
