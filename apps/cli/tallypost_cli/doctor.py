"""`tallypost doctor`: looks at each hop that an email needs, and says which one fails."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tallypost_cli import programs, up
from tallypost_cli.errors import StartUpError
from tallypost_cli.probes import http_probe, smtp_probe
from tallypost_cli.running_system import Addresses, find_addresses
from tallypost_cli.supervisor import Say
from tallypost_core.settings import apps
from tallypost_domain.db import migrate

_LOOPBACK = "127.0.0.1"
_TIMEOUT_S = 5.0

Check = Callable[[], Awaitable[str | None]]
"""Returns None where all is well, else what is wrong."""


def run(folder: Path, environ: Mapping[str, str], say: Say) -> None:
    """Check databases and apps, one line each; raises StartUpError where a check fails."""
    settings = apps.load(apps.CLISettings, environ)
    addresses = find_addresses(folder, environ)
    ports = up.choose_ports(settings.port_base, environ)
    failures = asyncio.run(_run_checks({**_databases(addresses), **_apps(ports)}, say))
    if failures:
        raise StartUpError(f"{failures} of the checks failed.")


async def _run_checks(checks: Mapping[str, Check], say: Say) -> int:
    failures = 0
    for name, check in checks.items():
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                problem = await check()
        except (OSError, asyncpg.PostgresError, RedisError) as error:
            # The class alone: a message may quote an address with its login.
            problem = type(error).__name__
        failures += problem is not None
        say(f"ok      {name}" if problem is None else f"FAILED  {name}: {problem}")
    return failures


def _databases(addresses: Addresses) -> dict[str, Check]:
    checks: dict[str, Check] = {}
    if addresses.owner_url is not None:
        checks["migrations"] = partial(_check_revision, addresses.owner_url)
    for role, url in addresses.role_urls.items():
        checks[f"login of {role}"] = partial(_check_login, url)
    if addresses.redis_url is not None:
        checks["redis"] = partial(_check_redis, addresses.redis_url)
    return checks


async def _check_revision(owner_url: str) -> str | None:
    revision, head = await migrate.current_revision(owner_url), migrate.head_revision()
    if revision == head:
        return None
    return f"the database is at {revision or 'no revision'}, this release needs {head}"


async def _check_login(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.close()


async def _check_redis(url: str) -> None:
    async with Redis.from_url(url) as client:
        await client.ping()


def _apps(ports: Mapping[str, int]) -> dict[str, Check]:
    checks: dict[str, Check] = {}
    for app in programs.APPS:
        probe = http_probe if app.speaks_http else smtp_probe
        checks[app.name] = partial(probe(_LOOPBACK, ports[app.port_variable]), 0)
    return checks
