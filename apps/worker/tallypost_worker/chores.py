"""The platform's chores, run by ARQ: each drains due rows and is safe to run twice.

Losing Redis costs time, never work: the next run finds what is due.
"""

import asyncio
from typing import Any

import structlog
from arq.connections import ArqRedis
from arq.cron import cron
from arq.worker import Worker
from redis.exceptions import RedisError

from tallypost_core.settings.loader import Secret
from tallypost_domain.db.pools import Pool
from tallypost_domain.queue.samples import DELETE_OLD

_WEEKS_AHEAD = 4
_CHUNK = 1_000
_RESTART_S = (1.0, 2.0, 5.0)
_CONNECT_TIMEOUT_S = 2.0

log = structlog.get_logger()


async def create_partitions(ctx: dict[Any, Any]) -> None:
    """Keep four weekly partitions ahead of the emails that will be accepted."""
    created = await _pool(ctx).fetchval("SELECT create_partitions($1)", _WEEKS_AHEAD)
    if created:
        log.info("partitions.created", count=created)


async def delete_expired_idempotency_keys(ctx: dict[Any, Any]) -> None:
    """Forget idempotency keys that are older than their promised 24 hours."""
    await _drain(ctx, "SELECT delete_expired_idempotency_keys($1)")


async def delete_old_inbox_messages(ctx: dict[Any, Any]) -> None:
    """Empty the Inbox of what is older than a week."""
    await _drain(ctx, "SELECT delete_old_inbox_messages($1)")


async def delete_old_delivery_samples(ctx: dict[Any, Any]) -> None:
    """Forget what workers did more than an hour ago."""
    await _drain(ctx, DELETE_OLD)


async def run_chores(pool: Pool, redis_url: Secret) -> None:
    """Run the ARQ worker until cancelled; after an error of Redis it starts again.

    pool logs in as tp_worker. This is a task of its own: no error of Redis reaches a handover.
    """
    failures = 0
    while True:
        # Ours to close: the library forgets one that was still connecting when it was cancelled.
        redis = ArqRedis.from_url(redis_url.reveal(), socket_connect_timeout=_CONNECT_TIMEOUT_S)
        worker = _create_worker(pool, redis)
        started_s = asyncio.get_running_loop().time()
        try:
            await worker.async_run()
        except Exception as error:
            # The edge of this task. Most often Redis is away; whatever else the library raises is
            # no reason to stop delivering either.
            if asyncio.get_running_loop().time() - started_s > 60:
                failures = 0
            delay_s = _RESTART_S[min(failures, len(_RESTART_S) - 1)]
            failures += 1
            log.warning("chores.restart", error=type(error).__name__, delay_s=delay_s)
            await _close(worker, redis)
            await asyncio.sleep(delay_s)
        except asyncio.CancelledError:
            await _close(worker, redis)
            raise


def _create_worker(pool: Pool, redis: ArqRedis) -> Worker:
    return Worker(
        functions=[],
        cron_jobs=[
            cron(create_partitions, hour=None, minute=7, run_at_startup=True),
            cron(delete_expired_idempotency_keys, minute={11, 41}),
            cron(delete_old_inbox_messages, minute={13, 43}),
            cron(delete_old_delivery_samples, minute=set(range(5, 60, 10))),
        ],
        redis_pool=redis,
        ctx={"pool": pool},
        handle_signals=False,
        job_timeout=60,
        # What a job was called with must not reach a log.
        log_results=False,
        keep_result=0,
    )


async def _close(worker: Worker, redis: ArqRedis) -> None:
    try:
        try:
            await worker.close()
        finally:
            # Closing the worker ends early where a job of its was cancelled.
            await redis.aclose(close_connection_pool=True)
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("chores.close_failed", error=type(error).__name__)
    except asyncio.CancelledError:
        # Of a job that was under way, unless it is this task that is to end.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise


async def _drain(ctx: dict[Any, Any], statement: str) -> None:
    while await _pool(ctx).fetchval(statement, _CHUNK) == _CHUNK:
        continue


def _pool(ctx: dict[Any, Any]) -> Pool:
    pool: Pool = ctx["pool"]
    return pool
