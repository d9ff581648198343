"""Debian's Chromium, driven by Playwright, as a judge of pages."""

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

PATH_VARIABLE: Final = "CHROMIUM"

_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_REFUSED: Final = re.compile(
    r"Failed to load resource: the server responded with a status of (\d+) \(.*\)"
)
_VIOLATIONS: Final = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
        window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
    });
"""


def find_chromium() -> str:
    """The browser's path; skips the test where there is none."""
    path = os.environ.get(PATH_VARIABLE) or shutil.which("chromium")
    if path is None:
        pytest.skip(f"no chromium: apt-get install chromium, or name one in {PATH_VARIABLE}")
    return path


@asynccontextmanager
async def run_chromium() -> AsyncIterator[Browser]:
    """A browser of its own, until the end of the block."""
    path = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*_ARGUMENTS])
        try:
            yield browser
        finally:
            await browser.close()


class Watcher:
    """Notes what a page does that no page of ours may do."""

    def __init__(self, origin: str) -> None:
        self.foreign: list[str] = []
        """Addresses outside the origin that were asked for."""
        self.complaints: list[str] = []
        """Errors and warnings in the browser's console."""
        self._origin = origin
        self._refusals: set[tuple[str, int]] = set()

    def watch(self, context: BrowserContext) -> None:
        """Begin, with every page that the context opens from now on."""
        context.on("request", lambda request: self._note_request(request.url))
        context.on("console", self._note_message)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def expect_refusal(self, url: str, status: int) -> None:
        """From now on the console may say that this address answers with this status."""
        self._refusals.add((url, status))

    def _note_request(self, url: str) -> None:
        # The frame of a preview has no address of its own.
        if not url.startswith((f"{self._origin}/", "data:", "about:")):
            self.foreign.append(url)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not self._is_expected(message):
            self.complaints.append(f"{message.location['url']}: {message.text}")

    def _is_expected(self, message: ConsoleMessage) -> bool:
        found = _REFUSED.fullmatch(message.text)
        return found is not None and (message.location["url"], int(found[1])) in self._refusals


async def list_violations(page: Page) -> list[str]:
    """What the content security policy kept the page from doing."""
    found: list[str] = await page.evaluate("window.violations")
    return found


async def watch_violations(context: BrowserContext) -> None:
    """Let `list_violations` work in every page that the context opens from now on."""
    await context.add_init_script(_VIOLATIONS)
