"""Sessions of the two roles that deal with people."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tallypost_domain.db.pools import Connection
from tallypost_domain.db.sessions import SessionMaker
from tests.support.backends import PostgresLogins
from tests.support.database import Database, with_database


@pytest.fixture
async def cli(database: Database) -> AsyncIterator[SessionMaker]:
    """Sessions of tp_cli, which makes people."""
    async with database.sessions("tp_cli") as makers:
        yield makers


@pytest.fixture
async def console(database: Database) -> AsyncIterator[SessionMaker]:
    """Sessions of tp_console, in which people sign in."""
    async with database.sessions("tp_console") as makers:
        yield makers


@pytest.fixture
async def superuser(postgres: PostgresLogins, database: Database) -> AsyncIterator[Connection]:
    """A connection that no policy binds, for what time or an administrator would do."""
    connection = await asyncpg.connect(with_database(postgres.superuser_url, database.name))
    try:
        yield connection
    finally:
        await connection.close()
