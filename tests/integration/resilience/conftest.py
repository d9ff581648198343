"""Redis for the parts of the kit that count in it, empty for each test."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from tallypost_core.settings import Secret
from tallypost_resilience.redis_client import connect
from tests.support.backends import start_redis
from tests.support.servers import RedisServer, start_test_redis


@pytest.fixture(scope="session")
def shared_redis_url() -> Iterator[str]:
    """Address of a Redis that lives as long as the test session."""
    with start_redis() as url:
        yield url


@pytest.fixture
async def redis_url(shared_redis_url: str) -> str:
    """Address of a Redis without any data, scripts or statistics."""
    async with connect(Secret(shared_redis_url)) as client:
        await client.flushall()
        await client.script_flush()
        await client.config_resetstat()
    return shared_redis_url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the empty Redis."""
    async with connect(Secret(redis_url)) as client:
        yield client


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that a test may stop, freeze and start again."""
    with start_test_redis() as server:
        yield server
