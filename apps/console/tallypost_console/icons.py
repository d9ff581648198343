"""Icons, put into the page where they stand, so that they take its colours."""

import re
from pathlib import Path
from typing import Final

from markupsafe import Markup

_FOLDER: Final = Path(__file__).parent / "vendor" / "icons"
_INNER: Final = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)
_SPACES: Final = re.compile(r"\s*\n\s*")


def _read(path: Path) -> str:
    match = _INNER.search(path.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{path.name} is no icon")
    return _SPACES.sub("", match[1])


_ICONS: Final = {path.stem: _read(path) for path in sorted(_FOLDER.glob("*.svg"))}


def icon(name: str) -> Markup:
    """An icon by its name in the folder. It is decoration: the words stand beside it."""
    # The content is a file of the project, and the name a word of a template.
    return Markup(  # noqa: S704
        '<svg class="icon" aria-hidden="true" viewBox="0 0 24 24" fill="none" '
        'stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">'
        f"{_ICONS[name]}</svg>"
    )
