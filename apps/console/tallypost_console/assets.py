"""Stylesheet, script, font and icon, served by the console itself.

Their addresses carry a hash of their content, so a browser keeps them for a year and asks again
when they change. They are packed once; pages are not, for a packed page that holds both a secret
and words of the request gives the secret away by its length (BREACH).
"""

import gzip
import hashlib
from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, get
from litestar.params import FromPath
from msgspec import Struct

from tallypost_console.access import OPT_KEY, Everyone
from tallypost_console.errors import PageNotFound

_FOLDER: Final = Path(__file__).parent
_MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_STYLESHEET: Final = "console.css"
_FONT: Final = "inter.woff2"
_SCRIPT: Final = "console.js"
# Served as one, in this order: htmx begins its work as soon as its own file has run, be its
# extensions there or not.
_SCRIPTS: Final = ("htmx.js", "hx-csp.js", "hx-sse.js", _SCRIPT)


class Asset(Struct, frozen=True):
    """One file as it is served."""

    body: bytes
    packed: bytes | None
    """As gzip; None where that is no shorter."""
    media_type: str
    version: str

    def path(self, name: str) -> str:
        """Where it is as long as its content stays the same."""
        return f"/static/{self.version}/{name}"


def _make(name: str, body: bytes) -> Asset:
    packed = gzip.compress(body, mtime=0)
    return Asset(
        body,
        packed if len(packed) < len(body) else None,
        _MEDIA_TYPES[Path(name).suffix],
        hashlib.sha256(body).hexdigest()[:12],
    )


def _make_all() -> dict[str, Asset]:
    font = _make(_FONT, _read(_FONT))
    # A stylesheet names the font by its address, which holds the font's hash.
    styles = _read(_STYLESHEET).replace(_FONT.encode(), font.path(_FONT).encode())
    script = b"\n;\n".join(_read(name) for name in _SCRIPTS)
    return {
        _FONT: font,
        "icon.svg": _make("icon.svg", _read("icon.svg")),
        _STYLESHEET: _make(_STYLESHEET, styles),
        _SCRIPT: _make(_SCRIPT, script),
    }


def _read(name: str) -> bytes:
    ours = _FOLDER / "static" / name
    return (ours if ours.exists() else _FOLDER / "vendor" / name).read_bytes()


_ASSETS: Final = _make_all()


def asset_path(name: str) -> str:
    """The path of an asset as it is now."""
    return _ASSETS[name].path(name)


# Any: the types of the request's user, auth and state, none of which we use.
@get("/static/{version:str}/{name:str}", opt={OPT_KEY: Everyone.PUBLIC}, sync_to_thread=False)
def show_asset(
    request: Request[Any, Any, Any], version: FromPath[str], name: FromPath[str]
) -> Response[bytes]:
    """One asset. An older version gets the newest content, which it must not keep."""
    asset = _ASSETS.get(name)
    if asset is None:
        raise PageNotFound
    is_newest = version == asset.version
    headers = {
        "cache-control": "public, max-age=31536000, immutable" if is_newest else "no-store",
        "vary": "accept-encoding",
    }
    if asset.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(asset.packed, media_type=asset.media_type, headers=headers)
    return Response(asset.body, media_type=asset.media_type, headers=headers)
