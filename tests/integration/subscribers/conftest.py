"""Fixtures of the tests of subscriber_feeder."""

from collections.abc import AsyncIterator

import pytest

from tallypost_domain.db.pools import Pool
from tests.integration.queue import conftest, reuse
from tests.support.database import Database

reused_database = reuse.reused_database
database = reuse.database
queue = conftest.queue


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """As a worker feeds subscribers with it."""
    async with database.pool("tp_worker") as pool:
        yield pool
