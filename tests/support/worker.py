"""A worker in the test's own process, delivering to a sink."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tallypost_providers.account_settings import load_worker
from tallypost_worker.app import work
from tests.support.backends import start_redis
from tests.support.database import PEPPER_SETTING, RING_SETTING, Database


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server that lives as long as the test session."""
    with start_redis() as url:
        yield url


def worker_environment(
    database: Database, *, redis_url: str, objects: Path, smtp_port: int, **overrides: str
) -> dict[str, str]:
    """The environment of a worker that hands over to a local SMTP server."""
    return {
        "TALLYPOST_DATABASE_DELIVER_URL": database.url("tp_deliver"),
        "TALLYPOST_DATABASE_WORKER_URL": database.url("tp_worker"),
        "TALLYPOST_REDIS_URL": redis_url,
        "TALLYPOST_SECRETS_KEY_RING": RING_SETTING,
        "TALLYPOST_SECRETS_PEPPERS": PEPPER_SETTING,
        "TALLYPOST_OBJECTS_URL": f"file://{objects}",
        "TALLYPOST_SMTP_HOST": "127.0.0.1",
        "TALLYPOST_SMTP_PORT": str(smtp_port),
        "TALLYPOST_SMTP_SECURITY": "none",
        "TALLYPOST_WORKER_PORT": "0",
        "TALLYPOST_DELIVERY_RETRY_SCHEDULE_S": "0.2,0.2,0.2",
        **overrides,
    }


@asynccontextmanager
async def running_worker(environment: Mapping[str, str]) -> AsyncIterator[None]:
    """A worker that runs until the block ends, and then ends as on SIGTERM."""
    stop = asyncio.Event()
    worker = asyncio.create_task(work(load_worker(environment), stop))
    try:
        yield
    finally:
        stop.set()
        await worker


async def eventually(condition: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Return once a condition holds; fails after within_s seconds, which only bounds a hang."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is outside this process
            await asyncio.sleep(0.02)
