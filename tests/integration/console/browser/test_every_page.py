"""What holds for every page: no barrier, no sideways scroll, nothing foreign, in both themes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route

from tallypost_console.pages import dead_letters
from tests.integration.console.browser.conftest import sign_in
from tests.integration.console.browser.judges import Judge, open_judge
from tests.integration.console.browser.stocks import DEAD_LETTERS, Stock
from tests.integration.console.conftest import BILLING, OPERATOR, OWNER
from tests.integration.console.controllers import Controller, run_controller
from tests.integration.console.running import run_console
from tests.support.database import Database

FIRST_VISIT_BYTES = 150_000
TENANT_PATHS = (
    "/",
    "/?mode=test",
    "/emails",
    "/emails?mode=test",
    "/emails?q=status:bounced",
    "/emails?q=to:nobody@recipient.test",
    "/inbox",
    "/queue",
    "/queue?only=ambiguous",
    "/queue?only=held",
    "/queue/dead-letters",
    "/queue/dead-letters?mode=test",
    "/api-keys",
    "/providers",
    "/providers/new",
    "/providers/new/smtp",
    "/providers/new/ses",
    "/providers/new/sendgrid",
    "/routes",
    "/routes/new",
)
OPERATOR_PATHS = ("/overview", "/tenants", "/gallery", "/demo")
REFUSALS = {"/nothing-here": 404, "/emails?q=colour:red": 422}
TABS = ("preview", "html", "text", "headers", "raw", "attachments")


def own_paths(stock: Stock) -> Iterator[str]:
    """Pages of single emails, messages, accounts and routes."""
    yield from (f"/emails/{email_id}" for email_id in stock.emails.values())
    yield from (f"/emails/{stock.emails['sent']}?tab={tab}" for tab in TABS)
    yield f"/inbox/{stock.message}"
    yield from (f"/providers/{account_id}" for account_id in stock.accounts)
    yield f"/routes/{stock.route}"


async def open_as(chromium: Browser, url: str, who: str) -> Judge:
    """A judge who is signed in."""
    judge = await open_judge(chromium, url)
    await sign_in(judge.page, url, who)
    return judge


@pytest.fixture
async def demo_console_url(database: Database, people: None, tmp_path: Path) -> AsyncIterator[str]:
    """The console of a demo."""
    async with (
        run_controller(Controller()) as demo_url,
        run_console(database.url("tp_console"), objects=tmp_path, demo_url=demo_url) as url,
    ):
        yield url


@pytest.mark.slow
async def test_pages_of_a_tenant_are_sound(
    chromium: Browser, console_url: str, stocked: Stock
) -> None:
    judge = await open_as(chromium, console_url, OWNER)
    for path in TENANT_PATHS:
        await judge.open(path)
        await judge.look(path)
    for path, status in REFUSALS.items():
        await judge.open(path, status)
        await judge.look(path)
    assert not judge.list_faults(), "\n".join(judge.list_faults())


# Most of the forms and states; each has tests of what it does besides.
@pytest.mark.slow
async def test_pages_of_single_things_are_sound(
    chromium: Browser, console_url: str, stocked: Stock
) -> None:
    judge = await open_as(chromium, console_url, OWNER)
    for path in own_paths(stocked):
        await judge.open(path)
        await judge.look(path)
    assert not judge.list_faults(), "\n".join(judge.list_faults())


@pytest.mark.slow
async def test_pages_of_operators_are_sound(
    chromium: Browser, demo_console_url: str, stocked: Stock
) -> None:
    judge = await open_as(chromium, demo_console_url, OPERATOR)
    for path in OPERATOR_PATHS:
        await judge.open(path)
        await judge.look(path)
    assert not judge.list_faults(), "\n".join(judge.list_faults())


async def test_page_that_a_role_may_not_see_is_sound(chromium: Browser, console_url: str) -> None:
    judge = await open_judge(chromium, console_url)
    # Not even the start page, to which signing in leads.
    judge.expect_refusal("/", 403)
    await sign_in(judge.page, console_url, BILLING)
    await judge.open("/emails", 403)
    await judge.look("not allowed")
    assert not judge.list_faults(), "\n".join(judge.list_faults())


async def test_sign_in_page_is_sound_with_an_error_and_without(
    chromium: Browser, console_url: str
) -> None:
    judge = await open_judge(chromium, console_url)
    await judge.open("/login")
    await judge.look("sign-in")
    judge.expect_refusal("/login", 401)
    await judge.page.get_by_label("E-mail address").fill(OWNER)
    await judge.page.get_by_label("Password").fill("a wrong one")
    await judge.page.get_by_role("button", name="Sign in").click()
    await judge.page.get_by_role("alert").wait_for()
    await judge.look("sign-in refused")
    assert not judge.list_faults(), "\n".join(judge.list_faults())


async def test_list_of_shortcuts_is_sound(chromium: Browser, console_url: str) -> None:
    judge = await open_as(chromium, console_url, OWNER)
    await judge.page.locator("#live.on").wait_for()
    await judge.page.keyboard.press("?")
    await judge.page.get_by_role("dialog").wait_for()
    await judge.look("shortcuts")
    assert not judge.list_faults(), "\n".join(judge.list_faults())


async def test_form_of_a_key_is_sound_with_an_error_and_with_the_new_key(
    chromium: Browser, console_url: str
) -> None:
    judge = await open_as(chromium, console_url, OWNER)
    await judge.open("/api-keys")
    judge.expect_refusal("/api-keys", 422)
    # The browser takes blanks for a name, the console does not.
    await judge.page.get_by_label("Name").fill("  ")
    await judge.page.get_by_role("button", name="Make the key").click()
    await judge.page.locator("#name-error").wait_for()
    await judge.look("key refused")
    await judge.page.get_by_label("Name").fill("Shop")
    await judge.page.get_by_role("button", name="Make the key").click()
    await judge.page.get_by_text("Your new key").wait_for()
    await judge.look("new key")
    assert not judge.list_faults(), "\n".join(judge.list_faults())


async def test_pages_of_requeueing_are_sound(
    chromium: Browser, console_url: str, stocked: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_STEP", 1)
    judge = await open_as(chromium, console_url, OWNER)
    page, may_go_on = judge.page, asyncio.Event()

    async def wait(route: Route) -> None:
        if "hx-request" in route.request.headers:
            await may_go_on.wait()
        await route.continue_()

    await page.route("**/requeue-matching", wait)
    await judge.open("/queue/dead-letters")
    await page.get_by_role("checkbox").first.check()
    await page.get_by_role("button", name="Requeue the ticked ones").click()
    await page.get_by_role("heading", name="1 recipient of 1 email back in the queue").wait_for()
    await judge.look("requeued")
    await judge.open("/queue/dead-letters")
    await page.get_by_text(f"Requeue all {DEAD_LETTERS - 1}").click()
    await page.get_by_role("button", name=f"Requeue {DEAD_LETTERS - 1}", exact=True).click()
    await page.get_by_role("heading", name="1 recipient back in the queue").wait_for()
    await judge.look("requeueing")
    may_go_on.set()
    await page.get_by_role("link", name="See the queue").wait_for()
    await judge.look("requeued all")
    assert not judge.list_faults(), "\n".join(judge.list_faults())


async def test_first_visit_is_light(
    context: BrowserContext, page: Page, console_url: str, stocked: Stock
) -> None:
    sizes: list[int] = []
    session = await context.new_cdp_session(page)
    await session.send("Network.enable")
    session.on(
        "Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"]))
    )
    await sign_in(page, console_url, OWNER)
    await page.locator("#live.on").wait_for()
    assert 0 < sum(sizes) < FIRST_VISIT_BYTES


async def test_theme_is_chosen_and_kept(owner_page: Page, console_url: str) -> None:
    await owner_page.locator(".who summary").click()
    await owner_page.get_by_role("button", name="Dark").click()
    await owner_page.goto(f"{console_url}/emails")
    background = await owner_page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(14, 17, 22)"
