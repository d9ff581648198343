"""Forms of pages in a real browser: where links lead to them, and what is left where one fails."""

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tallypost_console.pages import dead_letters as page_of_letters
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.queue.requeueing import requeue_matching
from tests.integration.console.letters import LIST, bury
from tests.integration.emails.every_status import add_with_outcome
from tests.integration.queue.harness import Harness
from tests.support.database import SeededTenant


async def test_link_to_send_again_opens_the_form_that_does(
    owner_page: Page, console_url: str, queue: Harness, tenant: SeededTenant
) -> None:
    email_id = await add_with_outcome(queue, tenant, "rejected")
    await owner_page.goto(f"{console_url}/emails/{email_id}")
    await owner_page.get_by_role("link", name="Resend as new").click()
    await owner_page.get_by_role("button", name="Send it again").click()
    await expect(owner_page.locator(".why")).to_contain_text("It is stored")


async def test_step_that_failed_leaves_the_page_from_which_a_person_goes_on(
    owner_page: Page,
    console_url: str,
    queue: Harness,
    tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_of_letters, "MAX_STEP", 2)
    await bury(queue, tenant, 5, to="ada@r.test")
    calls = 0

    # Any: whatever it takes and returns.
    async def fail_once(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise DatabaseUnavailable
        return await requeue_matching(*given, **named)

    monkeypatch.setattr(page_of_letters, "requeue_matching", fail_once)
    await owner_page.goto(f"{console_url}{LIST}")
    await owner_page.get_by_text("Requeue all 5").click()
    await owner_page.get_by_role("button", name="Requeue 5").click()
    await expect(owner_page.get_by_role("alert")).to_contain_text("Not available right now")
    await expect(owner_page.get_by_role("status").first).to_contain_text("2 recipients back")
    await owner_page.get_by_role("button", name="Go on").click()
    await expect(owner_page.locator("h1")).to_contain_text("5 recipients back in the queue")
    await expect(owner_page.get_by_role("alert")).to_have_count(0)
