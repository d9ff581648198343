"""Where a form may send its reader afterwards."""

import re
from typing import Final
from urllib.parse import urlsplit

# A path of ours: one slash, then nothing that a browser could read as the start of a host.
_OWN_PATH: Final = re.compile(r"/(?![/\\])[^\x00-\x20\x7f\\]*")


def own_path(path: str) -> str:
    """The path where it leads to a page of this console, else the start page."""
    return path if _OWN_PATH.fullmatch(path) else "/"


def own_path_of(url: str) -> str:
    """As `own_path`, of a whole address of which only path and query count."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    return own_path(f"{parts.path}?{parts.query}" if parts.query else parts.path)
