"""The gallery has every component, and everything that was vendored is used."""

import re
from pathlib import Path

import tallypost_console

FOLDER = Path(tallypost_console.__file__).parent
TEMPLATES = FOLDER / "templates"

# Parts of every page, seen on the gallery as on any other, or of another component, or of one form
# alone.
OF_THE_PAGE = {
    "form_token",
    "sign_out",
    "page_link",
    "theme_switch",
    "shortcuts",
    "live",
    "time",
    "short_time",
    "copy_button",
    "dns_records",
    "queue_tabs",
    "provider_tabs",
    "demo_form",
}


def macros() -> set[str]:
    return set(re.findall(r"{% macro (\w+)\(", (TEMPLATES / "macros.html").read_text()))


def test_gallery_shows_every_component() -> None:
    shown = set(re.findall(r"parts\.(\w+)\(", (TEMPLATES / "gallery.html").read_text()))
    assert macros() - OF_THE_PAGE - shown == set()


def test_every_component_is_used_by_a_page() -> None:
    sources = [path.read_text() for path in TEMPLATES.glob("*.html") if path.stem != "gallery"]
    used = {name for source in sources for name in re.findall(r"(\w+)\(", source)}
    assert macros() - used == set()


def test_every_icon_is_used() -> None:
    vendored = {path.stem for path in (FOLDER / "vendor" / "icons").glob("*.svg")}
    sources = [*TEMPLATES.glob("*.html"), FOLDER / "navigation.py"]
    words = {
        word for path in sources for word in re.findall(r"['\"]([a-z-]+)['\"]", path.read_text())
    }
    assert vendored - words == set()
