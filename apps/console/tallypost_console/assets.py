"""The stylesheet and the icon, served by the console itself.

Their addresses carry a hash of their content, so a browser keeps them for a year and asks again
when they change.
"""

import hashlib
from pathlib import Path
from typing import Final

from litestar import Response, get
from litestar.params import FromPath

from tallypost_console.access import OPT_KEY, Everyone
from tallypost_console.errors import PageNotFound

_FOLDER: Final = Path(__file__).parent / "static"
_MEDIA_TYPES: Final = {"console.css": "text/css", "icon.svg": "image/svg+xml"}
_BODIES: Final = {name: (_FOLDER / name).read_bytes() for name in _MEDIA_TYPES}


def asset_path(name: str) -> str:
    """The path of an asset as it is now."""
    return f"/static/{hashlib.sha256(_BODIES[name]).hexdigest()[:12]}/{name}"


@get("/static/{version:str}/{name:str}", opt={OPT_KEY: Everyone.PUBLIC}, sync_to_thread=False)
def show_asset(version: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """One asset. An older version gets the newest content, which it must not keep."""
    if name not in _BODIES:
        raise PageNotFound
    is_newest = asset_path(name) == f"/static/{version}/{name}"
    caching = "public, max-age=31536000, immutable" if is_newest else "no-store"
    return Response(
        _BODIES[name], media_type=_MEDIA_TYPES[name], headers={"cache-control": caching}
    )
