"""What holds for every page in both themes: no barrier, no sideways scroll, nothing foreign."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize

from tests.integration.console.browser.conftest import sign_in
from tests.integration.console.browser.stocks import Stock
from tests.integration.console.conftest import BILLING, OPERATOR, OWNER
from tests.support.chromium import Watcher, list_violations, watch_violations

NARROW = ViewportSize(width=360, height=740)
WIDE = ViewportSize(width=1280, height=800)
FIRST_VISIT_BYTES = 150_000
TENANT_PATHS = (
    "/",
    "/?mode=test",
    "/emails",
    "/emails?mode=test",
    "/emails?q=status:bounced",
    "/emails?q=to:nobody@recipient.test",
    "/emails?q=colour:red",
    "/inbox",
    "/queue",
    "/queue?only=ambiguous",
    "/queue?only=held",
    "/queue/dead-letters",
    "/queue/dead-letters?mode=test",
    "/api-keys",
    "/nothing-here",
)
OPERATOR_PATHS = ("/overview", "/tenants", "/gallery")
TABS = ("preview", "html", "text", "headers", "raw", "attachments")


def own_paths(stock: Stock) -> Iterator[str]:
    """Pages of single emails and messages."""
    yield from (f"/emails/{email_id}" for email_id in stock.emails.values())
    yield from (f"/emails/{stock.emails['sent']}?tab={tab}" for tab in TABS)
    yield f"/inbox/{stock.message}"


async def judge(page: Page, url: str, path: str) -> list[str]:
    """Open a page wide and narrow; returns what is wrong with it."""
    faults: list[str] = []
    await page.set_viewport_size(WIDE)
    await page.goto(f"{url}{path}")
    for size in (WIDE, NARROW):
        await page.set_viewport_size(size)
        width = await page.evaluate("document.documentElement.scrollWidth")
        if width > size["width"]:
            faults.append(f"{path} is {width} wide on a screen of {size['width']}")
    results = await Axe().run(page)
    faults += [
        f"{path}: {violation['id']}: {node['html'][:200]}"
        for violation in results.response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    faults += [f"{path}: {violation}" for violation in await list_violations(page)]
    return faults


async def judge_all(context: BrowserContext, url: str, who: str, paths: list[str]) -> list[str]:
    """Open pages one by one as somebody; returns what is wrong with any."""
    page = await context.new_page()
    await sign_in(page, url, who)
    return [fault for path in paths for fault in await judge(page, url, path)]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("who", [OWNER, OPERATOR, BILLING])
async def test_every_page_is_sound_in_both_themes(
    chromium: Browser, console_url: str, stocked: Stock, theme: str, who: str
) -> None:
    paths = {
        OWNER: [*TENANT_PATHS, *own_paths(stocked)],
        OPERATOR: [*OPERATOR_PATHS],
        BILLING: ["/emails"],
    }[who]
    context = await chromium.new_context(color_scheme="dark" if theme == "dark" else "light")
    await watch_violations(context)
    watcher = Watcher(console_url)
    watcher.watch(context)
    assert await judge_all(context, console_url, who, paths) == []
    assert watcher.foreign == []
    expected = ("404", "403", "422")
    complaints = [text for text in watcher.complaints if not any(c in text for c in expected)]
    assert complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_sign_in_page_is_sound(chromium: Browser, console_url: str, theme: str) -> None:
    context = await chromium.new_context(color_scheme="dark" if theme == "dark" else "light")
    await watch_violations(context)
    assert await judge(await context.new_page(), console_url, "/login") == []


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
