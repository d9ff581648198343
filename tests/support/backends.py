"""Where the tests get PostgreSQL and Redis from: embedded servers, or containers on request.

`TALLYPOST_TEST_BACKEND=containers` takes containers through testcontainers; the images are those
of TALLYPOST_TEST_POSTGRES_IMAGE and TALLYPOST_TEST_REDIS_IMAGE.
"""

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from msgspec import Struct

from tests.support.servers import start_test_postgres, start_test_redis

POSTGRES_IMAGE = os.environ.get("TALLYPOST_TEST_POSTGRES_IMAGE", "postgres:18")
REDIS_IMAGE = os.environ.get("TALLYPOST_TEST_REDIS_IMAGE", "redis:8")


def uses_containers() -> bool:
    """True where the servers of this test run are containers."""
    return os.environ.get("TALLYPOST_TEST_BACKEND") == "containers"


class PostgresLogins(Struct, frozen=True):
    """Two addresses of one server."""

    superuser_url: str
    """For what only a test does: making and dropping databases."""
    owner_url: str
    """A role that may create roles and is no superuser, as on managed PostgreSQL."""


@contextmanager
def start_postgres() -> Iterator[PostgresLogins]:
    """A PostgreSQL server."""
    if not uses_containers():
        with start_test_postgres() as server:
            yield PostgresLogins(server.superuser_url, server.url)
        return
    from testcontainers.community.postgres import PostgresContainer

    with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
        superuser_url = container.get_connection_url()
        yield PostgresLogins(superuser_url, asyncio.run(_create_owner(superuser_url)))


@contextmanager
def start_redis() -> Iterator[str]:
    """A Redis server; yields its address."""
    if not uses_containers():
        with start_test_redis() as server:
            yield server.url
        return
    from testcontainers.community.redis import RedisContainer

    with RedisContainer(REDIS_IMAGE) as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


async def _create_owner(superuser_url: str) -> str:
    password = secrets.token_hex(16)
    connection = await asyncpg.connect(superuser_url)
    try:
        await connection.execute(f"CREATE ROLE owner LOGIN CREATEROLE PASSWORD '{password}'")
    finally:
        await connection.close()
    parts = urlsplit(superuser_url)
    return urlunsplit(parts._replace(netloc=f"owner:{password}@{parts.hostname}:{parts.port}"))
