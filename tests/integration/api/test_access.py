"""Who may call what, and how often."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tallypost_api.access import STRANGERS_BURST
from tallypost_api.permissions import OPT_KEY, Permission
from tallypost_api.style import Style, style_of_handler
from tallypost_core.crypto import new_api_key
from tallypost_domain.api_keys import service as api_keys
from tests.integration.api.conftest import SEND, client_of
from tests.integration.api.own.problems import is_problem
from tests.integration.api.test_send import FROM, is_error
from tests.support.api_server import RunningAPI, api_settings, run_api
from tests.support.database import PEPPERS, Database, SeededTenant

MALFORMED_KEYS = [
    "None",
    "re_123",
    "tp_live_short",
    "tp_live_" + "a" * 38,
    "tp_test_" + "é" * 38,
    "x" * 10_000,
]


@pytest.fixture
def api_without_database(tmp_path: Path) -> Iterator[RunningAPI]:
    """An API whose database is not there."""
    nowhere = Database("postgresql://owner:secret@127.0.0.1:9/none", "none")
    with run_api(api_settings(nowhere, tmp_path / "objects")) as running:
        yield running


def routes_with_a_key(api: RunningAPI) -> list[tuple[str, str, Permission]]:
    """Method, path and permission of each route that is not public.

    Without HEAD: it is the handler of GET that answers, and an answer without a body says little.
    """
    return [
        (method, route.path_format, handler.opt[OPT_KEY])
        for route in api.app.routes.routes
        for handler in getattr(route, "route_handlers", ())
        if handler.opt.get(OPT_KEY, Permission.PUBLIC) is not Permission.PUBLIC
        for method in handler.http_methods - {"HEAD"}
    ]


def is_ours(api: RunningAPI, path: str) -> bool:
    """True where a path is a route of our own, whose errors are problems."""
    return any(
        style_of_handler(handler) is Style.OURS
        for route in api.app.routes.routes
        if route.path_format == path
        for handler in getattr(route, "route_handlers", ())
    )


async def test_every_route_refuses_without_a_key(
    api: RunningAPI, anonymous: httpx.AsyncClient
) -> None:
    routes = routes_with_a_key(api)
    assert len(routes) >= 6
    for method, path, _ in routes:
        response = await anonymous.request(method, path)
        if is_ours(api, path):
            assert is_problem(response, 401, "missing_api_key"), (method, path)
        else:
            assert is_error(response, 401, "missing_api_key"), (method, path)


async def test_a_header_without_a_bearer_key_is_no_key(anonymous: httpx.AsyncClient) -> None:
    for header in ("", "Bearer", "Basic YTpi", "tp_live_x"):
        response = await anonymous.get("/emails", headers={"authorization": header})
        assert is_error(response, 401, "missing_api_key"), header


async def test_a_malformed_key_is_refused_without_the_database(
    api_without_database: RunningAPI,
) -> None:
    async with client_of(api_without_database, None) as client:
        for key in MALFORMED_KEYS:
            header = f"Bearer {key}".encode("latin-1")
            response = await client.get("/emails", headers=[(b"authorization", header)])
            assert is_error(response, 403, "invalid_api_key"), key
    # One that is well-formed has to be looked up.
    async with client_of(api_without_database, new_api_key("live")) as client:
        assert is_error(await client.get("/emails"), 503, "application_error")


async def test_an_unknown_key_is_refused(api: RunningAPI) -> None:
    async with client_of(api, new_api_key("live")) as client:
        assert is_error(await client.get("/emails"), 403, "invalid_api_key")


async def test_unknown_keys_are_looked_up_so_many_times_for_an_address(
    api: RunningAPI, client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    assert (await client.get("/emails")).status_code == 200
    refusals = []
    async with asyncio.timeout(60):
        while True:
            header = {"authorization": f"Bearer {new_api_key('live')}"}
            response = await anonymous.get("/emails", headers=header)
            if response.status_code == 429:
                break
            refusals.append(response)
    # One is the client's own key, which was unknown once too.
    assert len(refusals) >= STRANGERS_BURST - 1
    assert all(is_error(refused, 403, "invalid_api_key") for refused in refusals)
    assert is_error(response, 429, "rate_limit_exceeded")
    assert int(response.headers["retry-after"]) == 1
    assert (await client.get("/emails")).status_code == 200


async def test_a_refused_address_costs_no_look_up(api_without_database: RunningAPI) -> None:
    async with client_of(api_without_database, new_api_key("live")) as client, asyncio.timeout(60):
        # A look-up would find no database.
        while (response := await client.get("/emails")).status_code == 503:
            pass
    assert is_error(response, 429, "rate_limit_exceeded")


async def test_the_scheme_is_read_in_any_case(
    anonymous: httpx.AsyncClient, tenant: SeededTenant
) -> None:
    headers = {"authorization": f"bearer  {tenant.live_key.token}"}
    assert (await anonymous.get("/emails", headers=headers)).status_code == 200


async def test_a_revoked_key_dies_while_it_is_in_use(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    assert (await client.get("/emails")).status_code == 200
    async with database.session("tp_cli", tenant.id) as session:
        await api_keys.revoke_key(session, tenant.id, tenant.live_key.id)
    async with asyncio.timeout(60):
        while (response := await client.get("/emails")).status_code == 200:
            pass
        assert is_error(response, 403, "invalid_api_key")
        # From then on it is like any key that is unknown.
        while (response := await client.get("/emails")).status_code == 403:
            pass
    assert is_error(response, 429, "rate_limit_exceeded")


async def test_a_sending_key_may_send_and_nothing_else(
    api: RunningAPI, tenant: SeededTenant
) -> None:
    async with client_of(api, tenant.sending_key.token) as client:
        for method, path, permission in routes_with_a_key(api):
            response = await client.request(method, path)
            if permission is Permission.EMAILS_SEND:
                assert response.status_code == 422, (method, path)
            elif is_ours(api, path):
                assert is_problem(response, 403, "restricted_api_key"), (method, path)
            else:
                assert is_error(response, 401, "restricted_api_key"), (method, path)
        assert (await client.post("/emails", json=FROM | SEND)).status_code == 200
        assert (await client.post("/emails/batch", json=[FROM | SEND])).status_code == 200


@pytest.fixture
async def slow_key(database: Database, tenant: SeededTenant) -> str:
    """A key that gets one request in 100 seconds, after its burst of 10."""
    async with database.session("tp_cli", tenant.id) as session:
        created = await api_keys.create_key(
            session, tenant.id, mode="live", name="slow", peppers=PEPPERS, rate_limit_per_s=0.01
        )
    return created.token


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(
    api: RunningAPI, slow_key: str, client: httpx.AsyncClient
) -> None:
    async with client_of(api, slow_key) as slow:
        # A batch costs as much as one email.
        batch = await slow.post("/emails/batch", json=[FROM | SEND] * 50)
        assert batch.headers["ratelimit-remaining"] == "9"
        for remaining in range(8, -1, -1):
            response = await slow.get("/emails/x")
            # Errors count too, and say so.
            assert response.status_code == 404
            assert response.headers["ratelimit-limit"] == "10"
            assert response.headers["ratelimit-remaining"] == str(remaining)
            assert 0 < int(response.headers["ratelimit-reset"]) <= 1000
        refused = await slow.get("/emails")
        assert is_error(refused, 429, "rate_limit_exceeded")
        assert 0 < int(refused.headers["retry-after"]) <= 100
        assert refused.headers["ratelimit-remaining"] == "0"
    # Another key of the same tenant does not feel it.
    assert (await client.get("/emails")).status_code == 200


async def test_limits_are_told_in_every_answer_to_a_known_key(
    client: httpx.AsyncClient,
) -> None:
    names = {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "x-request-id"}
    for response in (
        await client.get("/emails"),
        await client.get("/emails?limit=0"),
        await client.post("/emails", json=FROM | SEND),
        await client.post("/emails", content=b"{"),
        await client.post("/emails/x/cancel"),
    ):
        assert names <= set(response.headers)
