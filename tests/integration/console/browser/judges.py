"""What holds for a page in both themes and at both sizes, whatever is on it."""

from typing import Any, Final, Literal, TypeAlias

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, ViewportSize

from tests.support.chromium import Watcher, list_violations, watch_violations

Theme: TypeAlias = Literal["light", "dark"]

NARROW: Final = ViewportSize(width=360, height=740)
WIDE: Final = ViewportSize(width=1280, height=800)

# All rules hold at one size in light and at the other in dark; only colours depend on the theme.
_LOOKS: Final[tuple[tuple[Theme, ViewportSize, dict[str, list[str]]], ...]] = (
    ("light", WIDE, {}),
    ("dark", WIDE, {"runOnly": ["color-contrast"]}),
    ("light", NARROW, {"runOnly": ["color-contrast"]}),
    ("dark", NARROW, {}),
)
_AXE: Final = Axe()
_GRAVE: Final = ("serious", "critical")
_OPEN_ALL: Final = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
_WIDTH: Final = "document.documentElement.scrollWidth"


class Judge:
    """One page that is led from address to address, and what was wrong on the way."""

    def __init__(self, page: Page, url: str, watcher: Watcher) -> None:
        self.page = page
        self._url = url
        self._watcher = watcher
        self._faults: list[str] = []

    def expect_refusal(self, path: str, status: int) -> None:
        """From now on this path may answer with this status."""
        self._watcher.expect_refusal(f"{self._url}{path}", status)

    async def open(self, path: str, status: int = 200) -> None:
        """Go to a path that answers with this status."""
        if status != 200:
            self.expect_refusal(path, status)
        answer = await self.page.goto(f"{self._url}{path}")
        if answer is None or answer.status != status:
            self._faults.append(f"{path} answers {answer and answer.status}")

    async def look(self, name: str) -> None:
        """Judge what is open now, as it is and with everything on it unfolded."""
        for size in (WIDE, NARROW):
            await self._measure(name, size)
        await self.page.evaluate(_OPEN_ALL)
        for theme, size, rules in _LOOKS:
            await self.page.emulate_media(color_scheme=theme)
            await self._measure(f"{name}, unfolded,", size)
            self._faults += [
                f"{name}, {theme}, {size['width']}: {violation['id']}: {node['html'][:200]}"
                for violation in await self._find_violations(rules)
                if violation["impact"] in _GRAVE
                for node in violation["nodes"]
            ]
        self._faults += [f"{name}: {each}" for each in await list_violations(self.page)]

    def list_faults(self) -> list[str]:
        """Everything that was wrong with any page, and what they must not do."""
        return [*self._faults, *self._watcher.foreign, *self._watcher.complaints]

    # Any: the shape of a violation is axe's.
    async def _find_violations(self, rules: dict[str, list[str]]) -> list[dict[str, Any]]:
        # Once for each document: `Axe.run` would put its half a megabyte there for each look.
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(_AXE.axe_script)
        options = {"resultTypes": ["violations"], **rules}
        found: dict[str, Any] = await self.page.evaluate("(options) => axe.run(options)", options)
        violations: list[dict[str, Any]] = found["violations"]
        return violations

    async def _measure(self, name: str, size: ViewportSize) -> None:
        await self.page.set_viewport_size(size)
        width = await self.page.evaluate(_WIDTH)
        if width > size["width"]:
            self._faults.append(f"{name} is {width} wide on a screen of {size['width']}")


async def open_judge(chromium: Browser, url: str) -> Judge:
    """A judge in a browser context of its own."""
    context = await chromium.new_context()
    await watch_violations(context)
    watcher = Watcher(url)
    watcher.watch(context)
    return Judge(await context.new_page(), url, watcher)
