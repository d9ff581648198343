"""Readiness of Redis."""

import contextlib

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tallypost_core.settings import Secret
from tallypost_telemetry.ops import CHECK_TIMEOUT_S, Check


def check_redis(url: Secret) -> Check:
    """A check that connects and sends PING; it keeps no connection between checks."""

    async def check() -> None:
        client = Redis.from_url(
            url.reveal(),
            socket_connect_timeout=CHECK_TIMEOUT_S,
            socket_timeout=CHECK_TIMEOUT_S,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
        )
        async with contextlib.aclosing(client):
            await client.ping()

    return check
