"""A running API and clients of it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.api_server import RunningAPI, api_settings, run_api
from tests.support.database import Database, SeededTenant

SEND = {"to": "ada@example.net", "subject": "Sample", "text": "A sample."}
"""A valid email but for `from`, which must be at the tenant's domain."""


@pytest.fixture
def api(database: Database, tmp_path: Path) -> Iterator[RunningAPI]:
    """The API on this test's database."""
    with run_api(api_settings(database, tmp_path / "objects")) as running:
        yield running


@asynccontextmanager
async def client_of(api: RunningAPI, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key, or without."""
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    async with httpx.AsyncClient(base_url=api.url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
async def anonymous(api: RunningAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    async with client_of(api, None) as client:
        yield client


@pytest.fixture
async def client(api: RunningAPI, tenant: SeededTenant) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the live key of the first tenant, whose domain is example.com."""
    async with client_of(api, tenant.live_key.token) as client:
        yield client


@pytest.fixture
async def sandbox_client(api: RunningAPI, tenant: SeededTenant) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the test key of the first tenant."""
    async with client_of(api, tenant.test_key.token) as client:
        yield client
