"""The API lives through outages of its database, refuses meanwhile, and mends itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tallypost_domain.db import migrate, roles
from tests.integration.api.conftest import SEND, client_of
from tests.integration.api.test_send import FROM, is_error
from tests.support.api_server import RunningAPI, api_settings, run_api
from tests.support.database import Database, SeededTenant, seed_tenant
from tests.support.servers import PostgresServer, start_test_postgres

_DEADLINE_S = 60
_POLL_S = 0.05


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test alone, for it to stop."""
    with start_test_postgres() as running:
        yield running


@pytest.fixture
async def own_database(server: PostgresServer) -> Database:
    """A migrated database on it."""
    database = Database(server.url, "tallypost")
    await migrate.upgrade(database.owner_url)
    password = urlsplit(database.url("tp_api")).password or ""
    await roles.set_passwords(
        database.owner_url, dict.fromkeys(("tp_api", "tp_accept", "tp_cli"), password)
    )
    return database


@pytest.fixture
async def sender(own_database: Database) -> SeededTenant:
    """A tenant in it."""
    async with own_database.sessions("tp_cli") as makers:
        return await seed_tenant(makers, "First sample tenant", "example.com")


@pytest.fixture
async def api_in_outage(
    server: PostgresServer, own_database: Database, sender: SeededTenant, tmp_path: Path
) -> AsyncIterator[tuple[RunningAPI, httpx.AsyncClient]]:
    """An API that was started while its database was away, and a client with a good key."""
    server.stop()
    with run_api(api_settings(own_database, tmp_path / "objects")) as running:
        async with client_of(running, sender.live_key.token) as client:
            yield running, client


async def until_ready(client: httpx.AsyncClient, *, status: int = 200) -> None:
    """Wait until readiness answers with this status."""
    async with asyncio.timeout(_DEADLINE_S):
        # The API is in another thread, so there is no event to wait for.
        while (await client.get("/health/ready")).status_code != status:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)


async def require_refusals(client: httpx.AsyncClient) -> None:
    """Each route says that it cannot do its work now, and when to ask again."""
    some_id = "00000000-0000-7000-8000-000000000000"
    for method, path, body in (
        ("POST", "/emails", FROM | SEND),
        ("POST", "/emails/batch", [FROM | SEND]),
        ("GET", "/emails", None),
        ("GET", f"/emails/{some_id}", None),
        ("PATCH", f"/emails/{some_id}", {"scheduled_at": "in 1 hour"}),
        ("POST", f"/emails/{some_id}/cancel", None),
    ):
        response = await client.request(method, path, json=body)
        assert is_error(response, 503, "application_error"), (method, path, response.text)
        assert int(response.headers["retry-after"]) >= 1
        assert "127.0.0.1" not in response.text


async def test_it_starts_without_a_database_and_serves_once_there_is_one(
    server: PostgresServer, api_in_outage: tuple[RunningAPI, httpx.AsyncClient]
) -> None:
    _, client = api_in_outage
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).status_code == 503
    await require_refusals(client)
    server.start()
    await until_ready(client)
    assert (await client.post("/emails", json=FROM | SEND)).status_code == 200


async def test_it_mends_itself_after_an_outage(
    server: PostgresServer, api_in_outage: tuple[RunningAPI, httpx.AsyncClient]
) -> None:
    _, client = api_in_outage
    server.start()
    await until_ready(client)
    sent = await client.post("/emails", json=FROM | SEND)
    assert sent.status_code == 200
    server.stop()
    await until_ready(client, status=503)
    await require_refusals(client)
    server.start()
    await until_ready(client)
    again = await client.get(f"/emails/{sent.json()['id']}")
    assert again.status_code == 200
    assert (await client.post("/emails", json=FROM | SEND)).status_code == 200
