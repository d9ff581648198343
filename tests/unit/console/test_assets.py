"""Files that pages are made of."""

import hashlib
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, Response

import tallypost_console
from tallypost_console.assets import asset_path, show_asset
from tallypost_console.errors import PageNotFound

FILES = ["console.css", "console.js", "inter.woff2", "icon.svg"]
FOLDER = Path(tallypost_console.__file__).parent
FOREVER = "public, max-age=31536000, immutable"


async def fetch(path: str, *, encoding: str = "identity") -> httpx.Response:
    app = Litestar(
        [show_asset],
        openapi_config=None,
        logging_config=None,
        exception_handlers={PageNotFound: say_not_found},
    )
    # Litestar names the shapes of messages more narrowly than httpx does.
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(path, headers={"accept-encoding": encoding})


# Any: the types of the request's user, auth and state.
def say_not_found(_: Request[Any, Any, Any], __: PageNotFound) -> Response[str]:
    return Response("", status_code=404)


@pytest.mark.parametrize("name", FILES)
async def test_address_carries_the_hash_of_what_is_there(name: str) -> None:
    path = asset_path(name)
    answer = await fetch(path)
    assert answer.status_code == 200
    assert path.split("/")[2] == hashlib.sha256(answer.content).hexdigest()[:12]
    assert answer.headers["cache-control"] == FOREVER


@pytest.mark.parametrize("name", FILES)
async def test_packed_file_is_the_same_file_and_never_longer(name: str) -> None:
    plain = await fetch(asset_path(name))
    packed = await fetch(asset_path(name), encoding="gzip, br")
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) <= len(plain.content)
    assert packed.headers["vary"] == plain.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("console.js", "text/javascript"),
        ("console.css", "text/css"),
        ("inter.woff2", "font/woff2"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_file_says_what_it_is(name: str, media_type: str) -> None:
    answer = await fetch(asset_path(name))
    assert answer.headers["content-type"].partition(";")[0] == media_type


async def test_script_is_all_scripts_in_the_order_in_which_they_need_each_other() -> None:
    script = (await fetch(asset_path("console.js"), encoding="gzip")).content
    files = ["vendor/htmx.js", "vendor/hx-csp.js", "vendor/hx-sse.js", "static/console.js"]
    rest = script
    for name in files:
        before, found, rest = rest.partition((FOLDER / name).read_bytes())
        assert found
        # Nothing but an end of the statement before, where that file has none.
        assert before.strip() in (b"", b";")
    assert rest == b""


async def test_older_version_gets_the_newest_content_and_does_not_keep_it() -> None:
    newest = await fetch(asset_path("console.js"))
    older = await fetch("/static/0123456789ab/console.js")
    assert older.content == newest.content
    assert older.headers["cache-control"] == "no-store"


async def test_stylesheet_loads_the_font_as_it_is_now_and_nothing_from_elsewhere() -> None:
    styles = (await fetch(asset_path("console.css"))).text
    loaded = re.findall(r"url\([\"']?([^\"')]*)", styles)
    assert asset_path("inter.woff2") in loaded
    assert [each for each in loaded if not each.startswith(("/static/", "#"))] == []
    assert "@import" not in styles


@pytest.mark.parametrize("name", ["vendored.toml", "htmx.js", "htmx.LICENSE", "nothing.js"])
async def test_other_files_are_not_served(name: str) -> None:
    assert (await fetch(f"/static/0123456789ab/{name}")).status_code == 404
