"""Fixtures of the worker's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tallypost_worker import lane_claims, recorder, wakeups
from tests.integration.queue import reuse
from tests.integration.queue.harness import Harness, open_harness
from tests.support.database import Database

reused_database = reuse.reused_database
database = reuse.database


@pytest.fixture
async def queue(database: Database, tmp_path: Path) -> AsyncIterator[Harness]:
    """A queue of this test alone; its large attachments are in `tmp_path`."""
    async with open_harness(database, tmp_path) as harness:
        yield harness


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits between looks at the database; what is decided there stays as it is."""
    monkeypatch.setattr(wakeups, "REFRESH_EVERY_S", 0.1)
    monkeypatch.setattr(lane_claims, "POLL_EVERY_S", 0.1)
    monkeypatch.setattr(lane_claims, "_RETRY_S", 0.1)
    monkeypatch.setattr(recorder, "_RETRY_S", 0.1)
