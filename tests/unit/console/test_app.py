"""How the console is put together."""

from pathlib import Path

import httpx
import pytest
from litestar import get, post
from litestar.types import ControllerRouterHandler

from tallypost_console import app as console
from tallypost_console.access import OPT_KEY, Everyone, UndeclaredPermission
from tallypost_console.services import Services
from tallypost_core.settings import Secret, databases, groups
from tallypost_core.settings.apps import ConsoleSettings
from tests.support.database import PEPPER_SETTING, RING_SETTING

BASE = "http://localhost:8001"
NOWHERE = Secret("postgresql://nobody:secret@127.0.0.1:1/none")


def settings(objects: Path, *, url: str = BASE, peppers: str = PEPPER_SETTING) -> ConsoleSettings:
    """Settings whose database does not exist."""
    return ConsoleSettings(
        database=databases.ConsoleDatabaseSettings(
            console_url=NOWHERE, api_url=NOWHERE, accept_url=NOWHERE
        ),
        secrets=groups.SecretsSettings(key_ring=Secret(RING_SETTING), peppers=Secret(peppers)),
        objects=groups.ObjectsSettings(url=objects.as_uri()),
        console=groups.ConsoleListenSettings(url=url),
        log=groups.LogSettings(),
    )


@get("/undeclared", sync_to_thread=False)
def undeclared() -> str:
    return "open door"


@post("/misspelt", opt={OPT_KEY: "emails.raed"}, sync_to_thread=False)
def misspelt() -> str:
    return "open door"


@get("/broken", opt={OPT_KEY: Everyone.PUBLIC}, sync_to_thread=False)
def broken() -> str:
    raise RuntimeError("a detail that is nobody's business")


def replace_routes(monkeypatch: pytest.MonkeyPatch, *added: ControllerRouterHandler) -> None:
    monkeypatch.setattr(console, "ROUTES", (*console.ROUTES, *added))


@pytest.mark.parametrize("handler", [undeclared, misspelt])
def test_route_without_a_permission_fails_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, handler: ControllerRouterHandler
) -> None:
    replace_routes(monkeypatch, handler)
    with pytest.raises(UndeclaredPermission, match=r"/undeclared|/misspelt"):
        console.create_app(settings(tmp_path))


def test_only_signing_in_and_the_stylesheet_are_public(tmp_path: Path) -> None:
    routes = console.create_routes(Services(settings(tmp_path)), console.ROUTES).routes
    public = {
        route.path
        for route in routes
        for handler in getattr(route, "route_handlers", ())
        if handler.opt.get(OPT_KEY) is Everyone.PUBLIC
    }
    assert public == {"/login", "/static/{version:str}/{name:str}"}


async def test_unexpected_error_shows_an_id_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    replace_routes(monkeypatch, broken)
    transport = httpx.ASGITransport(console.create_app(settings(tmp_path)))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        answer = await client.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    assert "nobody&#39;s business" not in answer.text
    assert "RuntimeError" not in answer.text
    logged = capsys.readouterr()
    assert "request.failed" in logged.out + logged.err
    assert answer.headers["x-request-id"] in logged.out + logged.err


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
async def test_other_methods_change_nothing(tmp_path: Path, method: str) -> None:
    transport = httpx.ASGITransport(console.create_app(settings(tmp_path)))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        answer = await client.request(method, "/login")
    assert answer.status_code == (204 if method == "OPTIONS" else 405)
    assert answer.headers["allow"]
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("wrong", [{"peppers": "no key ring"}, {"url": "console.example.com"}])
def test_settings_that_cannot_be_used_are_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        console.create_app(settings(tmp_path, **wrong))
