"""A person adds a provider account, sees why its check failed, and lets mail go by it."""

from playwright.async_api import Browser, Page, expect

from tallypost_domain.routing.accounts import NewAccount, list_accounts
from tallypost_domain.routing.standings import NewStanding
from tallypost_domain.routing.types import DomainRecord
from tests.integration.console.accounts import (
    FAILED,
    GOOD,
    SES_SECRETS,
    SES_SETTINGS,
    name_in_route,
    start_worker,
    write_check,
    write_standing,
    write_trouble,
)
from tests.integration.console.browser.conftest import sign_in
from tests.integration.console.browser.judges import Judge, open_judge
from tests.integration.console.browser.live_pages import open_live
from tests.integration.console.conftest import OWNER
from tests.integration.routing.samples import create, say_platform_has
from tests.support.database import Database, SeededTenant


async def open_as_owner(chromium: Browser, url: str) -> Judge:
    judge = await open_judge(chromium, url)
    await sign_in(judge.page, url, OWNER)
    return judge


async def add_relay(page: Page, url: str) -> None:
    """From the empty list to the page of a new account."""
    await page.goto(f"{url}/providers")
    await page.get_by_role("link", name="Add account").click()
    await page.get_by_role("link", name="SMTP relay").click()
    await page.get_by_label("Name", exact=True).fill("Own relay")
    await page.get_by_label("Host").fill("smtp.example.net")
    await page.get_by_label("User name").fill("sample")
    await page.get_by_label("Password").fill("a-sample-password")
    await page.get_by_role("button", name="Add account").click()
    await page.get_by_role("heading", name="Own relay").wait_for()


async def test_person_adds_an_account_sees_its_check_and_routes_mail_by_it(
    owner_page: Page, console_url: str, database: Database, tenant: SeededTenant
) -> None:
    page = owner_page
    await add_relay(page, console_url)
    await page.locator("#live.on").wait_for()
    await expect(page.locator("#check")).to_contain_text("Being checked")
    async with database.session("tp_console", tenant.id) as session:
        (account,) = await list_accounts(session, tenant.id)
    await write_check(database, tenant, account.id, FAILED)
    # By itself, for the page is live.
    await expect(page.locator("#check")).to_contain_text("Does not work")
    await expect(page.locator(".hops li.danger")).to_contain_text("421 4.3.2 come back another day")
    await page.get_by_role("button", name="Check now").click()
    await expect(page.locator("#check")).to_contain_text("Being checked again")
    await write_check(database, tenant, account.id, GOOD)
    await page.reload()
    await expect(page.locator("#check")).to_contain_text("Works")
    await page.get_by_role("link", name="Add a route").click()
    await page.get_by_label("Lane").select_option("bulk")
    await page.get_by_label("Second").select_option("platform")
    await page.get_by_role("button", name="Add route").click()
    await expect(page.locator(".routes > li").first).to_contain_text("Own relay, then the platform")
    await expect(page.locator("#preview")).to_be_visible()


async def test_routes_are_moved_in_place_and_the_button_keeps_the_focus(
    owner_page: Page, console_url: str, database: Database, tenant: SeededTenant
) -> None:
    page = owner_page
    account_id = await create(database, tenant)
    for lane in ("bulk", "transactional", ""):
        await page.goto(f"{console_url}/routes/new?account={account_id}")
        await page.get_by_label("Lane").select_option(lane)
        await page.get_by_role("button", name="Add route").click()
        await page.locator(".routes").wait_for()
    lines = page.locator(".routes > li b")
    before = ["Bulk mail", "Transactional mail", "All mail", "Everything else"]
    await expect(lines).to_have_text(before)
    button = page.get_by_role("button", name="Move down: route 1")
    id_ = await button.get_attribute("id")
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(lines).to_have_text([before[1], before[0], *before[2:]])
    assert await page.evaluate("document.activeElement.id") == id_


async def test_forms_of_an_account_and_of_a_route_are_sound_with_an_error(
    chromium: Browser, console_url: str
) -> None:
    judge = await open_as_owner(chromium, console_url)
    page = judge.page
    await judge.open("/providers/new/smtp")
    judge.expect_refusal("/providers/new/smtp", 422)
    await page.get_by_label("Name", exact=True).fill("Own relay")
    await page.get_by_label("Host").fill("http://smtp.example.net")
    await page.get_by_role("button", name="Add account").click()
    await page.locator("#settings-host-error").wait_for()
    await judge.look("account refused")
    await judge.open("/routes/new")
    judge.expect_refusal("/routes", 422)
    await page.get_by_role("button", name="Add route").click()
    await page.locator("#accounts-error").wait_for()
    await judge.look("route refused")
    assert not judge.list_faults(), "\n".join(judge.list_faults())


async def test_account_that_is_in_use_says_so_where_it_is_deleted(
    chromium: Browser, console_url: str, database: Database, tenant: SeededTenant
) -> None:
    judge = await open_as_owner(chromium, console_url)
    page = judge.page
    path = f"/providers/{await create(database, tenant)}"
    await open_live(page, f"{console_url}{path}")
    await page.get_by_text("Delete", exact=True).click()
    button = page.get_by_role("button", name="Delete for good")
    await expect(button).to_be_visible()
    other = await page.context.new_page()
    await other.goto(f"{console_url}/routes/new?account={path.rpartition('/')[2]}")
    await other.get_by_role("button", name="Add route").click()
    await other.locator(".routes").wait_for()
    judge.expect_refusal(f"{path}/delete", 409)
    await button.click()
    await expect(page.get_by_role("alert")).to_contain_text("for route 1 names it")
    await judge.look("account in use")
    assert not judge.list_faults(), "\n".join(judge.list_faults())


async def test_trouble_comes_and_goes_by_itself_and_what_is_unfolded_stays(
    owner_page: Page, console_url: str, database: Database, tenant: SeededTenant
) -> None:
    page = owner_page
    ses = NewAccount(name="SES", provider="ses", settings=SES_SETTINGS, secrets=SES_SECRETS)
    account_id, worker_id = await create(database, tenant, ses), await start_worker(database)
    await write_check(database, tenant, account_id, GOOD)
    await name_in_route(database, tenant, account_id)
    await open_live(page, f"{console_url}/providers/{account_id}")
    await expect(page.locator("#condition")).to_contain_text("Takes mail")
    domain = page.locator("details.domain")
    await domain.locator("summary").click()
    await write_trouble(database, tenant, account_id, worker_id, "open", 30.0)
    await expect(page.locator("#condition")).to_contain_text("Too much failed")
    await expect(domain).to_have_attribute("open", "")
    await write_trouble(database, tenant, account_id, worker_id, None)
    await expect(page.locator("#condition")).to_contain_text("Takes mail")


async def test_record_that_the_platform_wants_is_copied(
    owner_page: Page, console_url: str, database: Database, tenant: SeededTenant
) -> None:
    page = owner_page
    record = DomainRecord(
        type="CNAME", name="em1.example.com", value="u1.sendgrid.example.net", is_found=False
    )
    await say_platform_has(database, "sendgrid")
    standing = NewStanding(status="unverified", records=(record,))
    await write_standing(database, tenant, tenant.domain_id, "sendgrid", standing)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto(f"{console_url}/providers")
    button = page.get_by_role("button", name="Copy the value of record 1")
    await button.click()
    await expect(page.get_by_text("Copied").first).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == record.value
