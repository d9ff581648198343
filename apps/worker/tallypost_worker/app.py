"""Puts a worker process together and runs its tasks until it is told to stop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Coroutine

import structlog

from tallypost_core.collector import spare_the_collector
from tallypost_core.crypto import KeyRing
from tallypost_core.errors import AppError
from tallypost_core.settings.apps import WorkerSettings
from tallypost_domain.db.errors import AWAY, DatabaseUnavailable
from tallypost_domain.db.pools import Pool, create_pool
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.depths import LaneDepth, measure_depth
from tallypost_domain.queue.releases import release_held
from tallypost_domain.queue.sweeps import SWEEP_EVERY_S, sweep_abandoned
from tallypost_providers.account_settings import load_worker_or_exit
from tallypost_telemetry import logging, metrics, serving, tracing
from tallypost_telemetry.checks.postgres import check_postgres
from tallypost_telemetry.ops import OpsApp
from tallypost_worker.account_reports import report_accounts
from tallypost_worker.chores import run_chores
from tallypost_worker.heartbeat import Heartbeat
from tallypost_worker.parts import Parts, assemble_parts, retry_policy
from tallypost_worker.subscribers import feed_subscribers
from tallypost_worker.trouble_reports import report_troubles

# After an outage of the database every worker's beat is old; this gives each of them time to
# beat again before anybody frees rows.
_STEADY_BEFORE_SWEEP_S = 10.0
# Between two sweeps where one of them has left some.
_SWEEP_ON_S = 0.1
# Shorter than what the supervisor allows, so that signing off still follows.
_DRAIN_LIMIT_S = 8.0
# Part of it.
_CLOSE_LIMIT_S = 3.0
_MEASURE_EVERY_S = 15.0
_CONNECT_RETRY_S = 1.0
_CHORE_CONNECTIONS = 3
_DELIVER_CONNECTIONS = 6

log = structlog.get_logger()


def main() -> None:
    """Read the settings from the environment and work until SIGTERM or SIGINT."""
    settings = load_worker_or_exit()
    logging.configure(settings.log, "worker")

    async def run(stop: asyncio.Event) -> None:
        await work(settings, stop)

    spare_the_collector()
    try:
        with tracing.running(settings.tracing, "worker"):
            serving.run_until_signal(run)
    except AppError as error:
        # A provider's settings contradict each other: a sentence, not a traceback.
        raise SystemExit(error.message) from error


async def work(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Run one worker until stop is set: deliver, beat, sweep, do chores, answer health checks."""
    ops = OpsApp({"database": check_postgres(settings.database.deliver_url)})
    ops_server = asyncio.create_task(
        serving.serve(
            ops, settings.worker.host, settings.worker.port, stop, on_stop=ops.begin_shutdown
        )
    )
    # Without its port nobody can tell whether this worker is well, so it does not go on.
    ops_server.add_done_callback(lambda _: stop.set())
    try:
        async with _pools(settings, stop) as (deliver_pool, chore_pool):
            if deliver_pool is not None and chore_pool is not None:
                await _work(settings, deliver_pool, chore_pool, stop)
    finally:
        stop.set()
        await ops_server


async def _work(
    settings: WorkerSettings, deliver_pool: Pool, chore_pool: Pool, stop: asyncio.Event
) -> None:
    parts = assemble_parts(settings, deliver_pool, chore_pool)
    loop, recorder, heartbeat, due = parts.loop, parts.recorder, parts.heartbeat, parts.due
    # The heart goes on while the loop drains: what is under way still needs the lease.
    drained = asyncio.Event()
    log.info("worker.started", worker_id=str(parts.worker_id))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(heartbeat.run(drained))
            recording = tasks.create_task(recorder.run())
            background = [
                tasks.create_task(due.listen(stop)),
                tasks.create_task(due.refresh(stop)),
                tasks.create_task(_sweep(deliver_pool, heartbeat, settings)),
                tasks.create_task(_measure(deliver_pool)),
                tasks.create_task(run_chores(chore_pool, settings.redis.url)),
                tasks.create_task(parts.samples.run(chore_pool)),
                tasks.create_task(report_accounts(chore_pool, parts.worker_id, parts.fleet)),
                tasks.create_task(
                    report_troubles(chore_pool, parts.worker_id, parts.fleet, parts.routes)
                ),
                tasks.create_task(parts.feed.run()),
                tasks.create_task(parts.standings.run()),
                tasks.create_task(parts.checks.run()),
                tasks.create_task(feed_subscribers(settings)),
            ]
            await loop.run(stop)
            for task in background:
                task.cancel()
            await _drain(parts)
            recording.cancel()
            drained.set()
    finally:
        # Before the others are told that its rows are free, nothing of this worker may go on.
        await loop.abandon()
        await asyncio.gather(*_closing(parts))
        await parts.assembler.close()
        await parts.redis.aclose()
        await _sign_off(heartbeat)


async def _drain(parts: Parts) -> None:
    try:
        async with asyncio.timeout(_DRAIN_LIMIT_S):
            parts.loop.begin_drain()
            # Beside the wait: what was marked and has no connection yet must not wait for one.
            closing = [asyncio.create_task(one) for one in _closing(parts)]
            await parts.loop.wait_until_drained()
            await asyncio.gather(*closing)
            await parts.recorder.wait_until_idle()
            await parts.loop.return_unsent()
    except (TimeoutError, DatabaseUnavailable) as error:
        # What is left is swept by another worker, which then lists it as unconfirmed.
        log.warning("worker.drain_incomplete", error=type(error).__name__)


def _closing(parts: Parts) -> list[Coroutine[None, None, None]]:
    """The closing of all accounts, each within a bound; it may run twice."""
    of_platform = [_close(provider.name, provider.close()) for provider in parts.providers]
    return [*of_platform, _close("tenants", parts.routes.close())]


async def _close(name: str, closing: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(_CLOSE_LIMIT_S):
            await closing
    except Exception:
        # The edge to code that may be a plugin's. Results are still to be written.
        log.exception("worker.provider_not_closed", provider=name)


async def _sweep(pool: Pool, heartbeat: Heartbeat, settings: WorkerSettings) -> None:
    policy = retry_policy(settings)
    peppers = KeyRing.from_setting(settings.secrets.peppers.reveal())
    is_more = False
    while True:
        # A worker that was killed had several hundred rows.
        await asyncio.sleep(_SWEEP_ON_S if is_more else SWEEP_EVERY_S)
        is_more = False
        if heartbeat.steady_s < _STEADY_BEFORE_SWEEP_S:
            continue
        try:
            swept = await sweep_abandoned(pool, policy, peppers)
            released = await release_held(pool)
        except DatabaseUnavailable as error:
            log.warning("sweep.failed", error=error.code)
            continue
        except Exception:
            # The edge of this task: what is wrong with a dead worker's row must not end this one.
            log.exception("sweep.crashed")
            continue
        is_more = swept.is_more
        metrics.record_sweep(swept.released + swept.unconfirmed)
        if swept.released or swept.unconfirmed:
            log.warning("sweep.freed", released=swept.released, unconfirmed=swept.unconfirmed)
        if released:
            log.info("sweep.released_held", count=released)


async def _measure(pool: Pool) -> None:
    while True:
        try:
            depths = await measure_depth(pool)
        except DatabaseUnavailable as error:
            log.warning("measure.failed", error=error.code)
        else:
            for lane in Lane:
                depth = depths.get(lane, LaneDepth(0, 0.0))
                metrics.record_queue_depth(lane, depth.due_count, depth.oldest_due_age_s)
        await asyncio.sleep(_MEASURE_EVERY_S)


async def _sign_off(heartbeat: Heartbeat) -> None:
    try:
        await heartbeat.sign_off()
    except AWAY as error:
        log.warning("worker.sign_off_failed", error=type(error).__name__)


@contextlib.asynccontextmanager
async def _pools(
    settings: WorkerSettings, stop: asyncio.Event
) -> AsyncIterator[tuple[Pool | None, Pool | None]]:
    deliver = await _connect(settings.database.deliver_url.reveal(), _DELIVER_CONNECTIONS, stop)
    chores = await _connect(settings.database.worker_url.reveal(), _CHORE_CONNECTIONS, stop)
    try:
        yield deliver, chores
    finally:
        for pool in (deliver, chores):
            if pool is not None:
                pool.terminate()


async def _connect(url: str, size: int, stop: asyncio.Event) -> Pool | None:
    # The worker may start before the database does, and must not need a second start.
    while not stop.is_set():
        try:
            return await create_pool(url, size=size, app="tallypost-worker")
        except AWAY as error:
            log.warning("worker.waits_for_database", error=type(error).__name__)
            await asyncio.sleep(_CONNECT_RETRY_S)
    return None
