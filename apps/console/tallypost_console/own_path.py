"""Where a form may send its reader afterwards."""

import re
from typing import Final

# A path of ours: one slash, then nothing that a browser could read as the start of a host.
_OWN_PATH: Final = re.compile(r"/(?![/\\])[^\x00-\x20\x7f\\]*")


def own_path(path: str) -> str:
    """The path where it leads to a page of this console, else the start page."""
    return path if _OWN_PATH.fullmatch(path) else "/"
