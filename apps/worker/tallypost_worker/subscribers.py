"""Tells plugins of stored events, each in its own thread and none at the expense of deliveries."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog

from tallypost_core.settings.apps import WorkerSettings
from tallypost_domain.db.errors import AWAY
from tallypost_domain.db.pools import Pool, create_pool
from tallypost_resilience.retry import RetryPolicy
from tallypost_worker.subscriber_feeder import Feeder
from tallypost_worker.subscriber_places import Places

_CONNECTIONS: Final = 2
_RETRY_S: Final = 1.0

log = structlog.get_logger()


async def feed_subscribers(
    settings: WorkerSettings, environ: Mapping[str, str] = os.environ
) -> None:
    """Feed what TALLYPOST_SUBSCRIBERS names until cancelled; environ has their settings.

    This is a task of its own: no error of a subscriber or of the database reaches a handover.
    """
    names = tuple(dict.fromkeys(settings.subscribers))
    if not names:
        return
    places = Places()
    policy = RetryPolicy(schedule_s=settings.subscriber.retry_schedule_s, jitter=1.0)
    url = settings.database.worker_url.reveal()
    try:
        async with _pool(url) as pool, asyncio.TaskGroup() as tasks:
            for name in names:
                timeout_s = settings.subscriber.timeout_s
                feeder = Feeder(pool, name, environ, policy, timeout_s, places)
                tasks.create_task(feeder.run())
    except Exception:
        log.exception("subscribers.crashed")


@asynccontextmanager
async def _pool(url: str) -> AsyncIterator[Pool]:
    pool = None
    while pool is None:
        try:
            pool = await create_pool(url, size=_CONNECTIONS, app="tallypost-subscribers")
        except AWAY as error:
            log.warning("subscribers.wait_for_database", error=type(error).__name__)
            await asyncio.sleep(_RETRY_S)
    try:
        yield pool
    finally:
        pool.terminate()
