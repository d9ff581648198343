"""The heart: a worker knows how long others will leave its rows alone, and never believes more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tallypost_core import clock
from tallypost_core.ids import new_id
from tallypost_domain.queue.claims import LEASE_S
from tallypost_worker import heartbeat as heartbeat_module
from tallypost_worker.heartbeat import Heartbeat
from tests.integration.queue.harness import Harness
from tests.integration.worker.link import Link
from tests.support.worker import eventually


class Clock:
    """The monotonic clock, which the test may move on; hearts beat faster than usual."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        real = clock.monotonic_s
        monkeypatch.setattr(clock, "monotonic_s", lambda: real() + self.ahead_s)
        monkeypatch.setattr(heartbeat_module, "BEAT_EVERY_S", 0.1)


@asynccontextmanager
async def _beating(heartbeat: Heartbeat) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(heartbeat.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 10)


async def test_lease_begins_with_the_first_beat_and_ends_by_itself(
    queue: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Clock(monkeypatch)
    worker = new_id()
    heartbeat = Heartbeat(queue.database.url("tp_deliver"), worker)
    assert (heartbeat.remaining_s, heartbeat.steady_s) == (0.0, 0.0)
    async with _beating(heartbeat):
        await eventually(lambda: heartbeat.remaining_s > 0)
    # It has stopped: from here on the lease only runs out.
    assert await queue.pool.fetchval("SELECT count(*) FROM workers WHERE id = $1", worker) == 1
    assert 0 < heartbeat.remaining_s <= LEASE_S
    time.ahead_s += LEASE_S - 1
    assert 0 < heartbeat.remaining_s <= 1
    assert heartbeat.steady_s >= LEASE_S - 1
    time.ahead_s += 1
    assert (heartbeat.remaining_s, heartbeat.steady_s) == (0.0, 0.0)
    await heartbeat.sign_off()
    assert await queue.pool.fetchval("SELECT count(*) FROM workers") == 0


async def test_lease_is_counted_from_before_the_beat_was_sent(
    queue: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Clock(monkeypatch)
    heartbeat = Heartbeat(queue.database.url("tp_deliver"), new_id())
    async with queue.database.connect("tp_deliver") as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE workers IN SHARE ROW EXCLUSIVE MODE")
        async with _beating(heartbeat):
            async with asyncio.timeout(10):
                while not await queue.reader.fetch("SELECT 1 FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - the database's locks
                    await asyncio.sleep(0.01)
            # The beat takes ten seconds, as far as the clock goes.
            time.ahead_s += 10
            await transaction.rollback()
            await eventually(lambda: heartbeat.remaining_s > 0)
            assert heartbeat.remaining_s <= LEASE_S - 10


async def test_gap_longer_than_the_lease_begins_a_new_steady_time(
    queue: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Clock(monkeypatch)
    async with Link(queue.database.url("tp_deliver")).running() as link:
        heartbeat = Heartbeat(link.url, new_id())
        async with _beating(heartbeat):
            await eventually(lambda: heartbeat.remaining_s > 0)
            time.ahead_s += 12
            assert heartbeat.steady_s >= 12
            link.cut()
            time.ahead_s += LEASE_S
            assert (heartbeat.remaining_s, heartbeat.steady_s) == (0.0, 0.0)
            await eventually(lambda: link.refused > 0)
            link.mend()
            await eventually(lambda: heartbeat.remaining_s > 0)
            # After an outage every worker's beat is old: nobody frees rows at once.
            assert heartbeat.steady_s < 10


async def test_short_gap_leaves_the_lease_as_it_is(
    queue: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Clock(monkeypatch)
    async with Link(queue.database.url("tp_deliver")).running() as link:
        heartbeat = Heartbeat(link.url, new_id())
        async with _beating(heartbeat):
            await eventually(lambda: heartbeat.remaining_s > 0)
            time.ahead_s += 12
            link.cut()
            await eventually(lambda: link.refused > 0)
            link.mend()
            await eventually(lambda: heartbeat.remaining_s > LEASE_S - 11)
            assert heartbeat.steady_s >= 12
