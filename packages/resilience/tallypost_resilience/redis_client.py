"""Connects to Redis for the parts of the kit that must do without it when it is away."""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tallypost_core.settings import Secret

REDIS_TIMEOUT_S = 0.1
"""How long a request waits for Redis before it goes on without."""

REDIS_AWAY = (RedisError, OSError)
"""What Redis raises when it is away, overloaded or misconfigured; TimeoutError is an OSError."""

_CONNECT_TIMEOUT_S = 1.0


def connect(url: Secret) -> Redis:
    """A client whose connections are made on first use; close it with `aclose`.

    It never repeats a command, and sets no time for an answer: whoever calls it does, because
    they know what to do without one.
    """
    client: Redis = Redis.from_url(
        url.reveal(),
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return client


# Any: what a command answers is its own affair.
async def send_command(client: Redis, *command: str | bytes | int) -> Any:
    """Send one command and return its answer; raises one of REDIS_AWAY."""
    return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # Untyped there.
