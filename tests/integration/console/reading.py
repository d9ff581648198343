"""What a person finds on a page, read out of its HTML."""

import html
import re
from uuid import UUID

import httpx
from msgspec import Struct

_TILE = r'<dt>(?:<a href="(?P<href>[^"]*)">)?{}(?:</a>)?</dt>\s*<dd>(?P<rest>.*?)</dd>'
_FORM = r'<form[^>]*action="{}"[^>]*>(.*?)</form>'
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


class Tile(Struct, frozen=True):
    """A number with its note, and where it leads."""

    value: str
    note: str
    href: str | None


def tile(page: httpx.Response, label: str) -> Tile:
    """The tile of a label."""
    found = re.search(_TILE.format(re.escape(label)), page.text, re.DOTALL)
    assert found is not None, f"no tile {label!r}"
    (value, note) = (_text_of(found["rest"], name) for name in ("value", "note"))
    return Tile(value, note, html.unescape(found["href"]) if found["href"] else None)


def hidden_fields(page: httpx.Response, action: str) -> dict[str, str]:
    """What the first form with this action sends, where nobody changes anything in it."""
    found = re.search(_FORM.format(re.escape(action)), page.text, re.DOTALL)
    assert found is not None, f"no form for {action}"
    return {name: html.unescape(value) for name, value in _HIDDEN.findall(found[1])}


def links(page: httpx.Response) -> dict[str, str]:
    """Where the links of the page's own part lead, by their words; of several the last."""
    found = re.findall(r'<a [^>]*?href="([^"]*)"[^>]*>(.*?)</a>', main(page), re.DOTALL)
    return {words(text): html.unescape(href) for href, text in found}


def listed(page: httpx.Response) -> list[UUID]:
    """Ids of the rows of a list, in its order."""
    return [UUID(found) for found in re.findall(r'data-row="([0-9a-f-]{36})"', page.text)]


def main(page: httpx.Response) -> str:
    """The page's own part, without what stands around it everywhere."""
    return page.text.partition("<main")[2]


def words(markup: str) -> str:
    """What is read of some HTML; code stands within its sentence."""
    text = re.sub(r"<[^>]+>", " ", re.sub(r"</?code>", "", markup))
    return " ".join(html.unescape(text).split())


def section(page: httpx.Response, heading_id: str) -> str:
    """The part under a heading with this id, as it is read."""
    start = page.text.index(f'id="{heading_id}"')
    return words(page.text[page.text.index(">", start) + 1 :].partition("</section>")[0])


def _text_of(markup: str, name: str) -> str:
    found = re.search(rf'<span class="{name}">(.*?)</span>', markup, re.DOTALL)
    return words(found[1]) if found else ""
