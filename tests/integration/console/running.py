"""The console on a real socket, in the loop of the test, and a browser's manners for httpx."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx

from tallypost_cli.ports import find_free_port
from tallypost_console.app import create_app
from tallypost_core.settings import Secret, databases, groups
from tallypost_core.settings.apps import ConsoleSettings
from tallypost_telemetry import serving
from tests.support.database import PEPPER_SETTING, RING_SETTING

DEMO_TOKEN = "token of the demo"

_HOST = "127.0.0.1"
_DEADLINE_S = 30.0
_POLL_S = 0.01
_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


def console_settings(
    database_url: str, *, url: str, objects: Path, demo_url: str | None = None
) -> ConsoleSettings:
    """Settings of a console on a database, for people who reach it at `url`.

    The logins that it sends by are those of the same server, with the same password. The
    controller of a demo, where there is one, takes DEMO_TOKEN.
    """
    return ConsoleSettings(
        database=databases.ConsoleDatabaseSettings(
            console_url=Secret(database_url),
            api_url=Secret(_with_role(database_url, "tp_api")),
            accept_url=Secret(_with_role(database_url, "tp_accept")),
        ),
        secrets=groups.SecretsSettings(
            key_ring=Secret(RING_SETTING), peppers=Secret(PEPPER_SETTING)
        ),
        objects=groups.ObjectsSettings(url=objects.as_uri()),
        console=groups.ConsoleListenSettings(
            url=url, demo_url=demo_url, demo_token=Secret(DEMO_TOKEN) if demo_url else None
        ),
        log=groups.LogSettings(),
    )


class Browser:
    """An HTTP client that sends what a browser sends: cookies, Origin, Sec-Fetch-Site."""

    def __init__(self, client: httpx.AsyncClient, origin: str) -> None:
        self.client = client
        self.origin = origin

    async def get(self, path: str) -> httpx.Response:
        """Follow a link."""
        return await self.client.get(path)

    async def submit(self, path: str, **fields: str | list[str]) -> httpx.Response:
        """Submit a form of one of the console's pages; redirects are not followed.

        A list stands for a field that is there several times.
        """
        headers = {"origin": self.origin, "sec-fetch-site": "same-origin"}
        return await self.client.post(path, data=fields, headers=headers)

    async def submit_with_token(
        self, page: str, path: str, **fields: str | list[str]
    ) -> httpx.Response:
        """Press a button of a page: submit the form there with the token in it."""
        return await self.submit(path, form_token=form_token(await self.get(page)), **fields)

    async def sign_in(self, email: str, password: str) -> httpx.Response:
        """Fill in the form of the sign-in page."""
        return await self.submit("/login", email=email, password=password, then="/")


def shown(page: httpx.Response) -> str:
    """A page without what is another one in each answer: the nonce of its script."""
    return re.sub(r'nonce="[^"]+"', "", page.text)


def form_token(page: httpx.Response) -> str:
    """The token in the forms of a page."""
    found = _FORM_TOKEN.search(page.text)
    assert found is not None, f"no form token in {page.request.url.path}"
    return found[1]


@asynccontextmanager
async def run_console(
    database_url: str,
    *,
    url: str | None = None,
    objects: Path | None = None,
    demo_url: str | None = None,
) -> AsyncIterator[str]:
    """Serve a console until the end of the block; yields the address of its socket.

    url is what people type, where that is another one because a proxy stands in between. objects
    is the folder of large attachments, where a test puts some there. demo_url is the address of
    the controller of a demo, where one runs.
    """
    port = find_free_port()
    address = f"http://localhost:{port}"
    with tempfile.TemporaryDirectory() as empty:
        settings = console_settings(
            database_url, url=url or address, objects=objects or Path(empty), demo_url=demo_url
        )
        app = create_app(settings)
        stop = asyncio.Event()
        serving_task = asyncio.create_task(
            serving.serve(app, _HOST, port, stop, on_stop=app.begin_shutdown)
        )
        try:
            await _wait_until_live(address, serving_task)
            yield address
        finally:
            stop.set()
            await serving_task


@asynccontextmanager
async def open_browser(url: str) -> AsyncIterator[Browser]:
    """A browser without cookies, at a console."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield Browser(client, url)


async def _wait_until_live(url: str, serving_task: "asyncio.Task[None]") -> None:
    async with httpx.AsyncClient(base_url=url) as client, asyncio.timeout(_DEADLINE_S):
        while True:
            assert not serving_task.done(), "the console did not start"
            try:
                if (await client.get("/health/live")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(_POLL_S)


def _with_role(database_url: str, role: str) -> str:
    parts = urlsplit(database_url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{parts.password}@{host}"))
