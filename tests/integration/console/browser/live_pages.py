"""Live pages in a browser: opened, cut off, and asked what they heard."""

from typing import Final
from uuid import UUID

from playwright.async_api import Page, expect

ROWS: Final = "[data-row]"

_LISTEN: Final = """
    window.swaps = 0;
    window.heard = "";
    document.addEventListener("htmx:after:swap", () => { window.swaps += 1; });
    document.addEventListener("htmx:sse:before:message", (event) => {
        window.heard = event.detail.message.data;
    });
"""


async def open_list(page: Page, url: str) -> None:
    """Go to the list of emails and wait until it is live."""
    await open_live(page, f"{url}/emails")


async def open_live(page: Page, address: str) -> None:
    """Go to a page and wait until it is live; what it hears is noted."""
    await page.add_init_script(_LISTEN)
    await page.goto(address)
    await page.locator("#live.on").wait_for()


async def end_stream(page: Page) -> None:
    """End the page's stream, as a server does that has shut down."""
    await page.evaluate("htmx.find('[data-live]')._htmx.sse.reader.cancel()")


async def cut(page: Page) -> None:
    """End the page's stream, and let it find no way to another one."""
    await page.context.set_offline(True)
    await end_stream(page)
    await expect(page.get_by_text("Reconnecting")).to_be_visible()


async def wait_for_swap(page: Page) -> None:
    """Wait until a message has taken the place of what the page came with."""
    # With an argument: without one the page's policy forbids to look more than once.
    await page.wait_for_function("(least) => window.swaps > least", arg=0)


async def hear_of_leaving(page: Page, email_id: UUID) -> None:
    """Wait until the newest message is one without this row, shown or not."""
    await page.wait_for_function(
        "(id) => window.heard !== '' && !window.heard.includes(id)", arg=str(email_id)
    )
