"""How the API is put together."""

from pathlib import Path

import pytest
from litestar import Litestar, get

from tallypost_api import app, openapi
from tallypost_api.access import Access
from tallypost_api.permissions import (
    GRANTS,
    OPT_KEY,
    Permission,
    UndeclaredPermission,
    require_declared,
)
from tallypost_api.services import Services
from tallypost_core.settings import Secret, databases, groups
from tallypost_core.settings.apps import APISettings
from tests.support.database import PEPPER_SETTING, RING_SETTING

ROOT = Path(__file__).resolve().parents[3]

NOWHERE = Secret("postgresql://nobody:nothing@127.0.0.1:9/none")


def settings(objects: Path, *, peppers: str = PEPPER_SETTING) -> APISettings:
    """Settings whose database does not exist."""
    return APISettings(
        database=databases.APIDatabaseSettings(api_url=NOWHERE, accept_url=NOWHERE),
        secrets=groups.SecretsSettings(key_ring=Secret(RING_SETTING), peppers=Secret(peppers)),
        objects=groups.ObjectsSettings(url=objects.as_uri()),
        api=groups.APIListenSettings(),
        accept=groups.AcceptSettings(),
        log=groups.LogSettings(),
    )


def test_the_app_is_built_without_a_database(tmp_path: Path) -> None:
    built = app.create_app(settings(tmp_path))
    assert {route.path for route in built.routes.routes} >= {"/emails", "/health/ready"}


def test_settings_that_cannot_be_used_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="base64"):
        app.create_app(settings(tmp_path, peppers="first:!"))


def test_a_route_that_does_not_say_what_it_demands_stops_the_start(tmp_path: Path) -> None:
    @get("/", sync_to_thread=False)
    def forgotten() -> str:
        return "open to all"

    services = Services(settings(tmp_path))
    with pytest.raises(UndeclaredPermission, match="forgotten"):
        app.build_routes([forgotten], services, Access(services, 10.0))


def test_a_permission_that_is_only_a_word_is_not_declared() -> None:
    @get("/", opt={OPT_KEY: "public"}, sync_to_thread=False)
    def mistaken() -> str:
        return "open to all"

    with pytest.raises(UndeclaredPermission, match="mistaken"):
        require_declared(Litestar([mistaken], openapi_config=None, logging_config=None))


def test_a_sending_key_may_only_send() -> None:
    assert GRANTS["sending_access"] == {Permission.EMAILS_SEND}


def test_the_stored_description_is_what_the_code_makes() -> None:
    stored = (ROOT / "docs" / "openapi.json").read_bytes()
    assert stored == openapi.render(), "run: python -m tallypost_api.openapi docs/openapi.json"


def test_every_route_that_needs_a_key_is_described(tmp_path: Path) -> None:
    built = app.create_app(settings(tmp_path))
    paths = openapi.describe()["paths"]
    served = {
        (route.path_format, method.lower())
        for route in built.routes.routes
        for handler in getattr(route, "route_handlers", ())
        if handler.opt.get(OPT_KEY) not in (None, Permission.PUBLIC)
        for method in handler.http_methods - {"HEAD"}
    }
    assert served == {(path, method) for path, item in paths.items() for method in item}


def test_every_reference_of_the_description_leads_somewhere() -> None:
    description = openapi.describe()
    references: list[str] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            references.extend(value for key, value in node.items() if key == "$ref")
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(description)
    schemas = description["components"]["schemas"]
    assert references
    assert {ref.removeprefix("#/components/schemas/") for ref in references} <= set(schemas)
