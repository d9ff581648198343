"""Pages that keep themselves up to date, as somebody sees them."""

from pathlib import Path

from playwright.async_api import Page, expect

from tests.integration.console.browser.live_pages import ROWS, cut, open_list
from tests.integration.console.browser.stocks import Stock, set_status
from tests.integration.console.mail import accept
from tests.support.database import Database, SeededTenant


async def test_new_email_appears_by_itself(
    owner_page: Page, console_url: str, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await open_list(owner_page, console_url)
    await expect(owner_page.get_by_text("No live emails yet")).to_be_visible()
    await accept(database, tmp_path, tenant, "Just now")
    await expect(owner_page.locator(ROWS).first).to_contain_text("Just now")


async def test_email_of_another_tenant_does_not(
    owner_page: Page,
    console_url: str,
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
) -> None:
    await open_list(owner_page, console_url)
    await accept(database, tmp_path, other_tenant, "Somebody else's")
    await accept(database, tmp_path, tenant, "My own")
    await expect(owner_page.locator(ROWS).first).to_contain_text("My own")
    await expect(owner_page.locator(ROWS)).to_have_count(1)


async def test_change_of_status_shows_in_its_row(
    owner_page: Page,
    console_url: str,
    database: Database,
    tenant: SeededTenant,
    stocked: Stock,
) -> None:
    await open_list(owner_page, console_url)
    row = owner_page.locator(f"[data-row='{stocked.emails['queued']}']")
    await expect(row).to_contain_text("Queued")
    await set_status(database, tenant, stocked.emails["queued"], "sent")
    await expect(row).to_contain_text("Sent")


async def test_while_paused_new_ones_are_counted_and_shown_on_request(
    owner_page: Page,
    console_url: str,
    database: Database,
    tenant: SeededTenant,
    stocked: Stock,
    tmp_path: Path,
) -> None:
    await open_list(owner_page, console_url)
    before = await owner_page.locator(ROWS).count()
    await owner_page.get_by_role("button", name="Pause live updates").click()
    await accept(database, tmp_path, tenant, "While paused 1", "While paused 2")
    await expect(owner_page.get_by_role("button", name="2 new")).to_be_visible()
    assert await owner_page.locator(ROWS).count() == before
    await owner_page.get_by_role("button", name="2 new").click()
    await expect(owner_page.locator(ROWS)).to_have_count(before + 2)
    await expect(owner_page.get_by_role("button", name="2 new")).to_be_hidden()
    await expect(owner_page.locator(ROWS).first.get_by_role("link")).to_be_focused()


async def test_many_at_once_become_a_number(
    owner_page: Page,
    console_url: str,
    database: Database,
    tenant: SeededTenant,
    stocked: Stock,
    tmp_path: Path,
) -> None:
    await open_list(owner_page, console_url)
    await cut(owner_page)
    await accept(database, tmp_path, tenant, *(f"One of many {n}" for n in range(30)))
    await owner_page.context.set_offline(False)
    await expect(owner_page.get_by_role("button", name="30 new")).to_be_visible()


async def test_what_happened_while_the_connection_was_lost_is_shown_afterwards(
    owner_page: Page,
    console_url: str,
    database: Database,
    tenant: SeededTenant,
    stocked: Stock,
    tmp_path: Path,
) -> None:
    await open_list(owner_page, console_url)
    await cut(owner_page)
    await accept(database, tmp_path, tenant, "In the meantime")
    await owner_page.context.set_offline(False)
    await expect(owner_page.locator(ROWS).first).to_contain_text("In the meantime")
    await expect(owner_page.locator("#live.on")).to_be_visible()


async def test_filter_is_in_the_address_and_holds_for_what_comes(
    owner_page: Page,
    console_url: str,
    database: Database,
    tenant: SeededTenant,
    stocked: Stock,
    tmp_path: Path,
) -> None:
    await open_list(owner_page, console_url)
    await owner_page.get_by_role("link", name="Bounced", exact=True).click()
    await expect(owner_page.locator(ROWS)).to_have_count(1)
    address = owner_page.url
    again = await owner_page.context.new_page()
    await again.goto(address)
    await again.locator("#live.on").wait_for()
    await expect(again.locator("#q")).to_have_value("status:bounced")
    await expect(again.get_by_role("link", name="Bounced", exact=True)).to_have_attribute(
        "aria-current", "true"
    )
    await accept(database, tmp_path, tenant, "Not bounced")
    await expect(owner_page.get_by_text("Not bounced")).to_have_count(0)
    await expect(again.locator(ROWS)).to_have_count(1)


async def test_page_of_an_email_shows_what_happens_to_it(
    owner_page: Page,
    console_url: str,
    database: Database,
    tenant: SeededTenant,
    stocked: Stock,
) -> None:
    email_id = stocked.emails["queued"]
    await owner_page.goto(f"{console_url}/emails/{email_id}")
    await expect(owner_page.locator(".why")).to_contain_text("a worker will take it")
    await set_status(database, tenant, email_id, "canceled")
    await expect(owner_page.locator(".why")).to_contain_text("It was canceled")
