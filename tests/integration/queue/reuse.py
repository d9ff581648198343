"""One database for many tests, emptied before each: cheaper than a new one for each.

For tests that change no schema. A conftest that imports these fixtures replaces `database`.
"""

import asyncio
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.backends import PostgresLogins
from tests.support.database import Database, with_database

_HANG_UP = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

# As a superuser: row-level security hides nothing, and foreign keys are not looked at.
_EMPTY = """
    DO $$
    DECLARE
        table_name text;
    BEGIN
        SET LOCAL session_replication_role = replica;
        FOR table_name IN
            SELECT c.relname FROM pg_class c
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
              AND NOT c.relispartition AND c.relname <> 'alembic_version'
        LOOP
            EXECUTE format('DELETE FROM %I', table_name);
        END LOOP;
    END
    $$
"""


@pytest.fixture(scope="session")
def reused_database(postgres: PostgresLogins, template_database: str) -> Iterator[str]:
    """Name of a database that lives as long as the test session."""
    name = f"reused_{secrets.token_hex(4)}"
    owner = urlsplit(postgres.owner_url).username
    create = f"CREATE DATABASE {name} TEMPLATE {template_database} OWNER {owner}"
    asyncio.run(_execute(postgres.superuser_url, create))
    yield name
    asyncio.run(_execute(postgres.superuser_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(postgres: PostgresLogins, reused_database: str) -> Database:
    """An empty database, which the next test gets after this one."""
    url = with_database(postgres.superuser_url, reused_database)
    await _execute(url, _HANG_UP, _EMPTY)
    return Database(postgres.owner_url, reused_database)


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
