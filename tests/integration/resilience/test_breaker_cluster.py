"""A peer that gets up meets one probe of the whole cluster, and no dead process keeps it away."""

import asyncio
from itertools import pairwise

import pytest
from redis.asyncio import Redis

from tallypost_core.settings import Secret
from tallypost_resilience.breaker import Breaker, BreakerOpen
from tallypost_resilience.circuit import BreakerConfig, BreakerState
from tallypost_resilience.redis_client import connect
from tests.integration.resilience.processes import read_report, run_processes, start_together
from tests.support.servers import RedisServer

# A loaded machine is not a slow Redis.
PATIENCE_S = 30.0
PROCESSES = 4
KEY = "account"


def make_breaker(
    redis: Redis, *, name: str = "test", open_s: float = 0.05, probe_s: float = 3600
) -> Breaker:
    """A breaker that opens by its first failure."""
    config = BreakerConfig(min_calls=1, open_s=open_s, probe_s=probe_s)
    return Breaker(name, config, redis=redis, redis_timeout_s=PATIENCE_S)


async def trip(breaker: Breaker) -> None:
    while breaker.state(KEY) is BreakerState.CLOSED:
        with pytest.raises(OSError, match="away"):
            async with breaker.guard(KEY):
                raise OSError("away")


async def wait_until_half_open(breaker: Breaker) -> None:
    async with asyncio.timeout(60):
        while breaker.state(KEY) is not BreakerState.HALF_OPEN:  # noqa: ASYNC110  # Time tells.
            await asyncio.sleep(0.005)


async def call_until_let_through(breaker: Breaker) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with breaker.guard(KEY):
                    return
            except BreakerOpen:
                await asyncio.sleep(0.01)


async def test_one_process_at_a_time_probes(redis_url: str) -> None:
    arguments = (redis_url, "succeed", "0.2", "60", "60")
    async with run_processes("breaker_process", PROCESSES, *arguments) as processes:
        await start_together(processes)
        reports = [await read_report(process) for process in processes]
    calls = sorted(call for report in reports for call in report)
    assert len(calls) == PROCESSES
    assert all(before[1] <= after[0] for before, after in pairwise(calls))


async def test_peer_that_stays_away_meets_one_probe_in_each_period(redis_url: str) -> None:
    open_s = 1.0
    arguments = (redis_url, "fail", str(open_s), "60", "4.5")
    async with run_processes("breaker_process", PROCESSES, *arguments) as processes:
        await start_together(processes)
        reports = [await read_report(process) for process in processes]
    probes = sorted(call for report in reports for call in report)
    assert probes
    assert all(after[0] - before[1] >= open_s * 0.99 for before, after in pairwise(probes))


async def test_probe_of_a_process_that_died_holds_up_the_others_for_a_bounded_time(
    redis_url: str, redis: Redis
) -> None:
    async with run_processes("breaker_process", 1, redis_url, "hang", "0.1", "2", "60") as victims:
        await start_together(victims)
        breaker = make_breaker(redis, open_s=0.1, probe_s=2)
        await trip(breaker)
        assert await read_report(victims[0]) == "hangs"
        await wait_until_half_open(breaker)
        with pytest.raises(BreakerOpen):
            async with breaker.guard(KEY):
                pass
        victims[0].kill()
        await call_until_let_through(breaker)
    assert breaker.state(KEY) is BreakerState.CLOSED


async def test_cancelled_probe_lets_another_process_probe(redis: Redis) -> None:
    one, other = (make_breaker(redis) for _ in range(2))
    await trip(one)
    await trip(other)
    begun = asyncio.Event()

    async def hang() -> None:
        async with one.guard(KEY):
            begun.set()
            await asyncio.Event().wait()

    await wait_until_half_open(one)
    probe = asyncio.create_task(hang())
    await begun.wait()
    await wait_until_half_open(other)
    with pytest.raises(BreakerOpen):
        async with other.guard(KEY):
            pass
    probe.cancel()
    await asyncio.wait([probe])
    await call_until_let_through(other)


async def test_breakers_of_other_names_and_keys_probe_apart(redis: Redis) -> None:
    one, other = (make_breaker(redis, name=name) for name in ("one", "other"))
    for breaker in (one, other):
        await trip(breaker)
        await wait_until_half_open(breaker)
    async with one.guard(KEY), other.guard(KEY):
        pass


async def test_without_redis_each_process_probes_alone(own_redis: RedisServer) -> None:
    async with connect(Secret(own_redis.url)) as redis:
        one, other = (make_breaker(redis) for _ in range(2))
        for breaker in (one, other):
            await trip(breaker)
            await wait_until_half_open(breaker)
        own_redis.stop()
        async with one.guard(KEY), other.guard(KEY):
            for breaker in (one, other):
                with pytest.raises(BreakerOpen):
                    async with breaker.guard(KEY):
                        pass
        assert one.state(KEY) is other.state(KEY) is BreakerState.CLOSED
