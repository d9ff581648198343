"""A person says whether mail arrived: on its page and in the queue, with a script and without."""

import pytest
from playwright.async_api import Browser, Page, expect

from tests.integration.api.own.mail import leave_in_doubt, park
from tests.integration.console.browser.conftest import sign_in
from tests.integration.console.browser.judges import open_judge
from tests.integration.console.conftest import OWNER
from tests.integration.queue.harness import Harness
from tests.support.database import SeededTenant


async def settle_ticked(page: Page, url: str, *, heading: str) -> None:
    """Tick every box of the list, unfold what is asked before, and confirm it."""
    await page.goto(f"{url}/queue?only=ambiguous")
    for box in await page.get_by_role("checkbox").all():
        await box.check()
    await page.locator("summary", has_text="The ticked ones arrived").click()
    await page.get_by_role("button", name="Yes, they arrived").click()
    await page.get_by_role("heading", name=heading).wait_for()


async def settle_one(page: Page) -> None:
    """Unfold what is asked before, and confirm it."""
    await page.locator("summary", has_text="It arrived").click()
    await page.get_by_role("button", name="Yes, it arrived").click()


@pytest.mark.slow
async def test_pages_of_settling_are_sound(
    chromium: Browser, console_url: str, queue: Harness, tenant: SeededTenant
) -> None:
    judge = await open_judge(chromium, console_url)
    await sign_in(judge.page, console_url, OWNER)
    parked = await park(queue, tenant, "ada@r.test", "bo@r.test")
    await judge.open("/queue?only=ambiguous")
    await judge.look("parked mail")
    await judge.page.locator("summary", has_text="The ticked ones arrived").click()
    await judge.look("parked mail, before it is settled")
    await judge.page.locator("summary", has_text="The ticked ones arrived").click()
    await settle_ticked(judge.page, console_url, heading="2 recipients of 1 email settled as sent")
    await judge.look("settled")
    await judge.open(f"/emails/{parked}")
    await judge.look("settled email")
    in_doubt = await leave_in_doubt(queue, tenant)
    await judge.open(f"/emails/{in_doubt}")
    await judge.look("email in doubt")
    await queue.make_due(tenant, in_doubt)
    await queue.claim(await queue.start_worker(), tenant)
    judge.expect_refusal(f"/emails/{in_doubt}/settle", 409)
    await settle_one(judge.page)
    await expect(judge.page.get_by_role("alert")).to_contain_text("A worker has this email")
    await judge.look("refused")
    assert not judge.list_faults(), "\n".join(judge.list_faults())


async def test_live_page_shows_what_was_settled_on_it(
    owner_page: Page, console_url: str, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await park(queue, tenant)
    await owner_page.goto(f"{console_url}/emails/{email_id}")
    await owner_page.locator("#live.on").wait_for()
    await settle_one(owner_page)
    await expect(owner_page.locator("#why")).to_contain_text("Somebody said that it arrived")
    await expect(owner_page.locator("summary", has_text="It arrived")).to_have_count(0)
    assert (await queue.statuses(tenant, email_id))["email"] == "sent"


async def test_what_nobody_is_to_get_any_more_is_canceled_on_its_page_and_in_the_list(
    owner_page: Page, console_url: str, queue: Harness, tenant: SeededTenant
) -> None:
    first, second = [await park(queue, tenant) for _ in range(2)]
    await owner_page.goto(f"{console_url}/emails/{first}")
    await owner_page.locator("summary", has_text="Cancel it").click()
    await owner_page.get_by_role("button", name="Yes, cancel it").click()
    await expect(owner_page.locator("#why")).to_contain_text("did not arrive")
    await owner_page.goto(f"{console_url}/queue?only=ambiguous")
    await owner_page.get_by_role("checkbox").check()
    await owner_page.locator("summary", has_text="Cancel the ticked ones").click()
    await owner_page.get_by_role("button", name="Yes, cancel them").click()
    heading = "1 recipient of 1 email settled as canceled"
    await owner_page.get_by_role("heading", name=heading).wait_for()
    for email_id in (first, second):
        assert (await queue.statuses(tenant, email_id))["email"] == "canceled"


async def test_without_a_script_one_is_settled_on_its_page_and_others_in_the_list(
    chromium: Browser, console_url: str, queue: Harness, tenant: SeededTenant
) -> None:
    context = await chromium.new_context(java_script_enabled=False)
    page = await context.new_page()
    await sign_in(page, console_url, OWNER)
    ids = [await park(queue, tenant) for _ in range(3)]
    await page.goto(f"{console_url}/emails/{ids[0]}")
    await settle_one(page)
    await expect(page.locator("#why")).to_contain_text("Somebody said that it arrived")
    await settle_ticked(page, console_url, heading="2 recipients of 2 emails settled as sent")
    for email_id in ids:
        assert (await queue.statuses(tenant, email_id))["email"] == "sent"
        assert await queue.billed(tenant, email_id) == 1
