"""Fixtures of the queue's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.queue import reuse
from tests.integration.queue.harness import Harness, open_harness
from tests.support.database import Database

reused_database = reuse.reused_database
database = reuse.database


@pytest.fixture
async def queue(database: Database, tmp_path: Path) -> AsyncIterator[Harness]:
    """A queue of this test alone."""
    async with open_harness(database, tmp_path) as harness:
        yield harness
