"""A queue beside the API, worked by hand, so that emails may end in silence."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.integration.api.conftest import client_of
from tests.integration.queue.harness import Harness, open_harness
from tests.support.api_server import RunningAPI
from tests.support.database import Database, SeededTenant


@pytest.fixture
async def queue(database: Database, tmp_path: Path) -> AsyncIterator[Harness]:
    """The queue of the API's database."""
    async with open_harness(database, tmp_path / "objects") as harness:
        yield harness


@pytest.fixture
async def other_client(
    api: RunningAPI, other_tenant: SeededTenant
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the live key of the second tenant."""
    async with client_of(api, other_tenant.live_key.token) as client:
        yield client
