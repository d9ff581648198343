"""What several API processes have in common: limits of a key, quotas, and news of a revocation."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from tallypost_api import access
from tallypost_core.settings import Secret, databases, groups
from tallypost_core.settings.apps import APISettings
from tallypost_domain.api_keys import service as api_keys
from tests.integration.api.conftest import SEND, client_of
from tests.integration.api.test_send import FROM, is_error
from tests.integration.database.test_notifications import proxy_to
from tests.support.api_server import RunningAPI, api_settings, run_api
from tests.support.database import PEPPERS, Database, SeededTenant
from tests.support.worker import eventually


def settings_with_redis(database: Database, folder: Path, url: str) -> APISettings:
    """Settings of one of two API processes."""
    return msgspec.structs.replace(
        api_settings(database, folder / "objects"),
        redis=groups.APIRedisSettings(url=Secret(url)),
        accept=groups.AcceptSettings(processes=2),
    )


@pytest.fixture
def two_apis(
    database: Database, tmp_path: Path, redis_url: str
) -> Iterator[tuple[RunningAPI, RunningAPI]]:
    """Two API processes that share a Redis."""
    settings = settings_with_redis(database, tmp_path, redis_url)
    with run_api(settings) as first, run_api(settings) as second:
        yield first, second


@pytest.fixture
async def slow_key(database: Database, tenant: SeededTenant) -> str:
    """A key that gets one request in 100 seconds, after its burst of 10."""
    async with database.session("tp_cli", tenant.id) as session:
        created = await api_keys.create_key(
            session, tenant.id, mode="live", name="slow", peppers=PEPPERS, rate_limit_per_s=0.01
        )
    return created.token


async def count_passed(key: str, *apis: RunningAPI, tries: int) -> int:
    """How many of some requests, sent to the processes in turn, are not told to come back."""
    passed = 0
    for number in range(tries):
        async with client_of(apis[number % len(apis)], key) as client:
            response = await client.get("/emails")
        passed += response.status_code == 200
        assert response.status_code == 200 or is_error(response, 429, "rate_limit_exceeded")
    return passed


async def test_processes_count_the_requests_of_a_key_together(
    two_apis: tuple[RunningAPI, RunningAPI], slow_key: str
) -> None:
    assert await count_passed(slow_key, *two_apis, tries=30) == access.MIN_BURST


async def test_without_redis_each_process_grants_its_share(
    database: Database, tmp_path: Path, slow_key: str
) -> None:
    nowhere = settings_with_redis(database, tmp_path, "redis://127.0.0.1:9/0")
    with run_api(nowhere) as api:
        assert await count_passed(slow_key, api, tries=20) == access.MIN_BURST // 2


async def test_request_beyond_the_quota_is_told_when_the_next_month_begins(
    client: httpx.AsyncClient,
    sandbox_client: httpx.AsyncClient,
    database: Database,
    tenant: SeededTenant,
) -> None:
    async with database.connect("tp_cli") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        await connection.execute("UPDATE tenants SET monthly_quota = 2")
    assert (await client.post("/emails/batch", json=[FROM | SEND] * 2)).status_code == 200
    refused = await client.post("/emails", json=FROM | SEND)
    assert is_error(refused, 429, "monthly_quota_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 31 * 86_400
    assert (await sandbox_client.post("/emails", json=FROM | SEND)).status_code == 200


@pytest.mark.parametrize("trouble", ["none", "frozen", "cut"])
async def test_revoked_key_dies_also_on_a_process_that_hears_nothing(
    database: Database, tenant: SeededTenant, tmp_path: Path, trouble: str
) -> None:
    url = database.url("tp_api")
    async with proxy_to(url) as proxy:
        settings = msgspec.structs.replace(
            api_settings(database, tmp_path / "objects", rate_limit_per_s=100_000),
            notifications=databases.NotificationsSettings(url=Secret(proxy.url(url))),
        )
        with run_api(settings) as api:
            async with (
                client_of(api, tenant.live_key.token) as client,
                client_of(api, tenant.test_key.token) as other_client,
            ):
                await eventually(lambda: proxy.open_connections)
                assert (await client.get("/emails")).status_code == 200
                if trouble == "frozen":
                    proxy.pause()
                elif trouble == "cut":
                    proxy.cut()
                async with database.session("tp_cli", tenant.id) as session:
                    await api_keys.revoke_key(session, tenant.id, tenant.live_key.id)
                async with asyncio.timeout(60):
                    while (response := await client.get("/emails")).status_code == 200:
                        pass
                assert is_error(response, 403, "invalid_api_key")
                assert (await other_client.get("/emails")).status_code == 200
