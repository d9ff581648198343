"""billing, templates and bounces as processes: health, readiness, metrics, settings, signals."""

import asyncio
import json
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.integration.small_apps.running import find_free_port, running, start
from tests.support.backends import start_redis
from tests.support.database import Database
from tests.support.servers import RedisServer, start_test_redis

APPS = ("billing", "templates", "bounces")
CHECKS = {
    "billing": {"database": "ok", "redis": "ok"},
    "templates": {"database": "ok"},
    "bounces": {"database": "ok"},
}
# What these apps have no use for, and what would cost each of them its quick start.
FOREIGN_MODULES = ("litestar", "sqlalchemy", "arq", "aioboto3", "jinja2", "stripe", "rich")


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """Address of a Redis for the tests of this module."""
    with start_redis() as url:
        yield url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that a test may stop and start."""
    with start_test_redis() as server:
        yield server


def variables_of(app: str, database_url: str, redis_url: str) -> dict[str, str]:
    return {
        f"TALLYPOST_DATABASE_{app.upper()}_URL": database_url,
        "TALLYPOST_REDIS_URL": redis_url,
    }


def unreachable(url: str) -> str:
    """The same address at a port that nobody listens on."""
    parts = urlsplit(url)
    login, _, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}@127.0.0.1:{find_free_port()}").geturl()


@pytest.mark.parametrize("app", APPS)
async def test_app_is_ready_with_the_login_of_its_own_role(
    app: str, database: Database, redis_url: str
) -> None:
    variables = variables_of(app, database.url(f"tp_{app}"), redis_url)
    async with running(app, variables) as it:
        ready = await it.get("/health/ready")
        assert (ready.status, ready.json) == (200, {"status": "ready", "checks": CHECKS[app]})
        metrics = await it.get("/metrics")
        assert metrics.status == 200
        assert "process_cpu_seconds_total" in metrics.text
        for path in ("/health/live", "/health/ready", "/metrics"):
            head = await it.get(path, "HEAD")
            assert (head.status, head.text) == (200, "")


@pytest.mark.parametrize("app", APPS)
async def test_app_has_no_product_route(app: str, database: Database, redis_url: str) -> None:
    variables = variables_of(app, database.url(f"tp_{app}"), redis_url)
    async with running(app, variables) as it:
        answer = await it.get("/")
        assert (answer.status, answer.json) == (404, {"error": "not_found"})
        assert "date" in {name.lower() for name in answer.headers}
        assert "server" not in {name.lower() for name in answer.headers}


@pytest.mark.parametrize("app", APPS)
async def test_app_ends_cleanly_and_logs_json_without_its_login(
    app: str, database: Database, redis_url: str
) -> None:
    url = database.url(f"tp_{app}")
    async with running(app, variables_of(app, url, redis_url)) as it:
        await it.get("/health/ready")
        status, log = await it.end()
    assert status == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["event"] for line in lines] == ["server.listening", "server.stopping"]
    assert {line["app"] for line in lines} == {app}
    password = urlsplit(url).password
    assert password is not None
    assert password not in log


@pytest.mark.parametrize("app", APPS)
async def test_app_without_database_lives_but_is_not_ready(
    app: str, database: Database, redis_url: str
) -> None:
    url = unreachable(database.url(f"tp_{app}"))
    async with running(app, variables_of(app, url, redis_url)) as it:
        ready = await it.get("/health/ready")
        assert ready.status == 503
        assert ready.json == {
            "status": "not_ready",
            "checks": CHECKS[app] | {"database": "failed: ConnectionRefusedError"},
        }
        assert (await it.get("/health/live")).status == 200
        _, log = await it.end()
    (warning,) = (line for line in map(json.loads, log.splitlines()) if line["level"] == "warning")
    assert (warning["event"], warning["check"]) == ("ready.changed", "database")


async def test_wrong_password_is_no_readiness(database: Database, redis_url: str) -> None:
    url = database.url("tp_templates").replace("role-password", "other-password")
    async with running("templates", variables_of("templates", url, redis_url)) as it:
        ready = await it.get("/health/ready")
        assert ready.json["checks"] == {"database": "failed: InvalidPasswordError"}


async def test_billing_follows_redis_down_and_up_again(
    database: Database, own_redis: RedisServer
) -> None:
    variables = variables_of("billing", database.url("tp_billing"), own_redis.url)
    async with running("billing", variables) as it:
        await it.wait_until_ready_is(200)
        await asyncio.to_thread(own_redis.stop)
        answer = await it.wait_until_ready_is(503)
        assert answer.json["checks"]["database"] == "ok"
        assert answer.json["checks"]["redis"] == "failed: ConnectionError"
        await asyncio.to_thread(own_redis.start)
        await it.wait_until_ready_is(200)


@pytest.mark.parametrize("app", APPS)
async def test_wrong_settings_end_the_start_with_every_problem(app: str) -> None:
    process = await start(
        app,
        {
            f"TALLYPOST_{app.upper()}_PORT": "many",
            "TALLYPOST_LOG_LEVEL": "loud",
            "TALLYPOST_NO_SUCH_SETTING": "1",
        },
    )
    output, errors = await process.communicate()
    assert process.returncode == 1
    assert output == b""
    text = errors.decode()
    assert "Traceback" not in text
    for name in (f"{app.upper()}_PORT", "LOG_LEVEL", "NO_SUCH_SETTING", "DATABASE_"):
        assert f"TALLYPOST_{name}" in text


@pytest.mark.parametrize("app", APPS)
async def test_app_loads_only_what_it_needs(app: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import sys, tallypost_{app}.app; print(*sys.modules)",
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    loaded = set(output.decode().split())
    assert f"tallypost_{app}.app" in loaded
    assert loaded.isdisjoint(FOREIGN_MODULES)
    assert ("redis" in loaded) == (app == "billing")
