"""Limits that hold for the whole cluster: exact, in few calls, and never in the way."""

import asyncio
import math
import os
import signal
import struct
import time
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

import tallypost_resilience
from tallypost_core.settings import Secret
from tallypost_resilience.cluster_limiter import ClusterLimiter
from tallypost_resilience.limiter import Decision, describe
from tallypost_resilience.redis_client import connect
from tallypost_telemetry import metrics
from tests.integration.resilience.processes import read_report, run_processes, start_together
from tests.support.servers import RedisServer
from tests.support.token_bucket import TokenBucket

# A loaded machine is not a slow Redis.
PATIENCE_S = 30.0
PROCESSES = 4

SCRIPT = (Path(tallypost_resilience.__file__).parent / "gcra.lua").read_text(encoding="utf-8")
Take: TypeAlias = tuple[str, Fraction, int, int]
"""Key, rate, burst and cost."""
RATES = st.one_of(
    st.integers(1, 500).map(Fraction), st.builds(Fraction, st.just(1), st.integers(1, 60))
)


@pytest.fixture
async def limiter(redis: Redis) -> AsyncIterator[ClusterLimiter]:
    """The only limiter of its cluster."""
    limiter = ClusterLimiter(redis, processes=1, timeout_s=PATIENCE_S)
    yield limiter
    assert not limiter.is_local
    await limiter.aclose()


async def count_calls(redis: Redis) -> int:
    """How often the script was called."""
    statistics = await redis.info("commandstats")
    return sum(
        statistics.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval")
    )


class ScriptAtMoment:
    """The script itself, at moments that the test chooses."""

    def __init__(self, url: str) -> None:
        text = SCRIPT
        # Keys run out by the server's clock, which the moments of a test know nothing of.
        for present, wanted in (
            ("redis.call('TIME')", "{ARGV[2], ARGV[3]}"),
            ("math.max(ttl_ms, 1)", "3600000"),
        ):
            assert text.count(present) == 1
            text = text.replace(present, wanted)
        self._client = BlockingRedis.from_url(url)
        self._script = self._client.register_script(text)
        self.moment_us = 1_800_000_000_000_000

    def take(self, *takes: Take) -> list[Decision]:
        """What is decided on takes that arrive together."""
        numbers = [float(number) for take in takes for number in take[1:]]
        packed = struct.pack(f"<{len(numbers)}d", *numbers)
        answer = self._script(
            [key for key, *_ in takes], [packed, *divmod(self.moment_us, 1_000_000)]
        )
        return [
            describe(reset_s, wait_s, rate_per_s=float(rate), burst=burst)
            for (reset_s, wait_s), (_, rate, burst, _) in zip(
                struct.iter_unpack("<dd", answer), takes, strict=True
            )
        ]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@pytest.fixture
def script(shared_redis_url: str) -> Iterator[ScriptAtMoment]:
    """The script in a Redis that may hold keys of other tests."""
    script = ScriptAtMoment(shared_redis_url)
    yield script
    script.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=RATES,
    burst=st.integers(1, 50),
    steps=st.lists(
        st.tuples(
            st.integers(0, 20_000) | st.integers(0, 5_000_000),
            st.lists(st.integers(1, 50), min_size=1, max_size=4),
        ),
        max_size=20,
    ),
)
@example(rate=Fraction(10), burst=1, steps=[(0, [1]), (99_000, [1]), (1_000, [1])])
@example(rate=Fraction(500), burst=2, steps=[(0, [1, 1, 1]), (2_000, [2, 1]), (2_000, [2])])
def test_script_decides_as_an_exact_token_bucket_does(
    script: ScriptAtMoment, rate: Fraction, burst: int, steps: list[tuple[int, list[int]]]
) -> None:
    key = f"model:{uuid4()}"
    bucket = TokenBucket.full(rate, burst, script.moment_us)
    for wait_us, wanted in steps:
        script.moment_us += wait_us
        costs = [min(cost, burst) for cost in wanted]
        decisions = script.take(*((key, rate, burst, cost) for cost in costs))
        for decision, cost in zip(decisions, costs, strict=True):
            assert decision.allowed == bucket.take(script.moment_us, cost)
            assert decision.remaining == bucket.tokens // 1
            assert decision.reset_s == pytest.approx(bucket.reset_s(), abs=1e-4)
            wait_s = 0 if decision.allowed else bucket.wait_s(cost)
            assert decision.retry_after_s == pytest.approx(wait_s, abs=1e-4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), RATES, st.integers(1, 20), st.integers(1, 20)),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 5),
)
def test_takes_together_are_decided_as_those_one_after_the_other(
    script: ScriptAtMoment, takes: list[tuple[str, Fraction, int, int]], size: int
) -> None:
    name = uuid4()
    together: list[Take] = [
        (f"{name}:{key}", rate, burst, min(cost, burst)) for key, rate, burst, cost in takes
    ]
    one_by_one = [
        script.take((f"{key}:apart", rate, burst, cost))[0] for key, rate, burst, cost in together
    ]
    chunks = [together[start : start + size] for start in range(0, len(together), size)]
    assert [decision for chunk in chunks for decision in script.take(*chunk)] == one_by_one


@pytest.mark.parametrize("rate", [3, 7, 10, 300])
def test_client_that_keeps_exactly_to_the_rate_is_never_refused(
    script: ScriptAtMoment, rate: int
) -> None:
    key, start_us = f"steady:{uuid4()}", script.moment_us
    assert script.take((key, Fraction(rate), 5, 5))[0].allowed
    for number in range(1, 500):
        # Redis knows whole microseconds: the client comes at the first one that is not early.
        script.moment_us = start_us + math.ceil(number * 1_000_000 / rate)
        assert script.take((key, Fraction(rate), 5, 1))[0].allowed


async def test_burst_passes_at_once_and_the_next_is_refused(limiter: ClusterLimiter) -> None:
    decisions = [await limiter.take("key", 0.001, 3) for _ in range(4)]
    assert [decision.allowed for decision in decisions] == [True, True, True, False]
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0]
    assert decisions[3].retry_after_s == pytest.approx(1000, abs=PATIENCE_S)


async def test_tenants_do_not_share_an_allowance(limiter: ClusterLimiter) -> None:
    decisions = await asyncio.gather(
        *(limiter.take(key, 0.001, 1) for key in ("one", "another", "one", "another"))
    )
    assert [decision.allowed for decision in decisions] == [True, True, False, False]


async def test_takes_at_the_same_time_are_one_call(limiter: ClusterLimiter, redis: Redis) -> None:
    await limiter.take("warm", 1, 1)
    before = await count_calls(redis)
    decisions = await asyncio.gather(
        *(limiter.take(f"key {number % 50}", 0.001, 5) for number in range(500))
    )
    assert sum(decision.allowed for decision in decisions) == 250
    assert await count_calls(redis) - before == 1


async def test_takes_that_come_during_a_call_share_the_next(
    limiter: ClusterLimiter, redis: Redis
) -> None:
    await limiter.take("warm", 1, 1)
    before = await count_calls(redis)

    async def take_often() -> None:
        for _ in range(20):
            await limiter.take("key", 1e6, 1000)

    await asyncio.gather(*(take_often() for _ in range(50)))
    # In step, each of twenty rounds would be one call; out of step they are at most a few more.
    assert await count_calls(redis) - before <= 40


async def test_more_takes_than_one_call_holds_are_all_answered(
    limiter: ClusterLimiter, redis: Redis
) -> None:
    decisions = await asyncio.gather(*(limiter.take("key", 0.001, 1500) for _ in range(2000)))
    assert sum(decision.allowed for decision in decisions) == 1500
    assert 3 <= await count_calls(redis) <= 10


async def test_script_that_redis_forgot_is_sent_again(
    limiter: ClusterLimiter, redis: Redis
) -> None:
    for expected in (True, True, False):
        await redis.script_flush()
        assert (await limiter.take("key", 0.001, 2)).allowed is expected


async def test_key_is_forgotten_when_its_bucket_is_full_again(
    limiter: ClusterLimiter, redis: Redis
) -> None:
    decision = await limiter.take("key", 10, 5000, 5000)
    (name,) = await redis.keys()
    ttl_s = await redis.pttl(name) / 1000
    assert decision.reset_s - PATIENCE_S <= ttl_s <= decision.reset_s + 0.001


async def test_caller_that_is_cancelled_before_its_call_leaves_takes_nothing(
    limiter: ClusterLimiter,
) -> None:
    await limiter.take("warm", 1, 1)
    callers = [asyncio.create_task(limiter.take("key", 0.001, 10)) for _ in range(5)]
    await asyncio.sleep(0)
    for caller in callers[:3]:
        caller.cancel()
    await asyncio.wait(callers)
    assert (await limiter.take("key", 0.001, 10)).remaining == 7


@pytest.mark.parametrize(
    ("rate", "burst", "cost"), [(0, 1, 1), (float("nan"), 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 2)]
)
async def test_meaningless_limit_is_refused_and_takes_nothing(
    limiter: ClusterLimiter, rate: float, burst: int, cost: int
) -> None:
    with pytest.raises(ValueError, match="must be"):
        await limiter.take("key", rate, burst, cost)
    assert (await limiter.take("key", 0.001, 1)).allowed


def test_limiter_of_no_process_is_refused(redis: Redis) -> None:
    with pytest.raises(ValueError, match="processes"):
        ClusterLimiter(redis, processes=0)


@pytest.mark.parametrize(("rate", "burst"), [(40, 80), (400, 800)])
async def test_four_processes_together_are_allowed_burst_and_rate(
    redis_url: str, rate: int, burst: int
) -> None:
    arguments = (redis_url, "key", str(rate), str(burst), "4", str(PROCESSES), str(PATIENCE_S))
    async with run_processes("limiter_process", PROCESSES, *arguments) as processes:
        await start_together(processes)
        reports = [await read_report(process) for process in processes]
    assert not any(report["was_local"] for report in reports)
    allowed = sum(report["allowed"] for report in reports)
    # The moments of the decisions are known to lie between these.
    longest_s = max(each["ended_at"] for each in reports) - min(
        each["started_at"] for each in reports
    )
    shortest_s = max(each["last_call_at"] for each in reports) - min(
        each["first_answer_at"] for each in reports
    )
    assert burst + rate * shortest_s - 1 <= allowed <= burst + rate * longest_s + 1


async def test_without_redis_each_process_grants_its_share(own_redis: RedisServer) -> None:
    rate, burst = 0.001, 10
    async with connect(Secret(own_redis.url)) as redis:
        limiters = [
            ClusterLimiter(redis, processes=PROCESSES, timeout_s=PATIENCE_S)
            for _ in range(PROCESSES)
        ]
        own_redis.stop()
        decisions = [
            [await limiter.take("key", rate, burst) for _ in range(burst)] for limiter in limiters
        ]
        assert all(limiter.is_local for limiter in limiters)
        allowed = [sum(decision.allowed for decision in each) for each in decisions]
        assert allowed == [math.ceil(burst / PROCESSES)] * PROCESSES
        for limiter in limiters:
            await limiter.aclose()


async def test_takes_are_counted_by_who_decided(own_redis: RedisServer) -> None:
    def count(source: str) -> float:
        name = "tallypost_limiter_takes_total"
        return metrics.REGISTRY.get_sample_value(name, {"source": source}) or 0.0

    before = {source: count(source) for source in ("cluster", "local")}
    async with connect(Secret(own_redis.url)) as redis:
        limiter = ClusterLimiter(redis, processes=2, timeout_s=PATIENCE_S)
        await asyncio.gather(*(limiter.take("key", 1, 10) for _ in range(3)))
        own_redis.stop()
        await asyncio.gather(*(limiter.take("key", 1, 10) for _ in range(5)))
        await limiter.take("key", 1, 10)
        await limiter.aclose()
    assert {source: count(source) - before[source] for source in before} == {
        "cluster": 3,
        "local": 6,
    }


async def test_counting_goes_on_in_redis_when_it_is_back(own_redis: RedisServer) -> None:
    async with connect(Secret(own_redis.url)) as redis:
        limiter = ClusterLimiter(redis, processes=2, timeout_s=PATIENCE_S)
        for _ in range(2):
            assert (await limiter.take("key", 0.001, 10)).limit == 10
            own_redis.kill()
            assert (await limiter.take("key", 0.001, 10)).limit == 5
            own_redis.start()
            await wait_until_back(limiter)
        await limiter.aclose()


async def test_frozen_redis_holds_up_nobody_after_the_first(own_redis: RedisServer) -> None:
    async with connect(Secret(own_redis.url)) as redis:
        limiter = ClusterLimiter(redis, processes=2)
        await limiter.take("warm", 1, 1)
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            callers = [limiter.take("key", 0.001, 10) for _ in range(20)]
            decisions = await asyncio.gather(*callers)
            assert sum(decision.allowed for decision in decisions) == 5
            assert limiter.is_local
            for _ in range(1000):
                await limiter.take("key", 0.001, 10)
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        await wait_until_back(limiter)
        await limiter.aclose()


@pytest.mark.parametrize("turns", range(8))
async def test_process_that_was_held_up_itself_does_not_blame_redis(
    redis: Redis, turns: int
) -> None:
    limiter = ClusterLimiter(redis, processes=2, timeout_s=0.5)
    await limiter.take("warm", 1, 1)
    caller = asyncio.create_task(limiter.take("key", 0.001, 10))
    # Before the call leaves, or after.
    for _ in range(turns):
        await asyncio.sleep(0)
    time.sleep(1)  # noqa: ASYNC251  # What no event loop should do.
    assert (await caller).limit == 10
    await limiter.aclose()


async def test_redis_that_refuses_to_count_is_as_one_that_is_away(own_redis: RedisServer) -> None:
    async with connect(Secret(own_redis.url)) as redis:
        limiter = ClusterLimiter(redis, processes=2, timeout_s=PATIENCE_S)
        await redis.config_set("maxmemory", 1)
        assert (await limiter.take("key", 0.001, 10)).limit == 5
        await redis.config_set("maxmemory", 0)
        await wait_until_back(limiter)
        await limiter.aclose()


async def test_flushed_redis_gives_a_fresh_burst_and_no_error(
    limiter: ClusterLimiter, redis: Redis
) -> None:
    assert not [await limiter.take("key", 0.001, 1) for _ in range(2)][1].allowed
    await redis.flushall()
    assert (await limiter.take("key", 0.001, 1)).allowed


async def test_closing_answers_those_who_wait(redis: Redis) -> None:
    limiter = ClusterLimiter(redis, processes=2, timeout_s=PATIENCE_S)
    callers = [asyncio.create_task(limiter.take("key", 0.001, 10)) for _ in range(10)]
    await asyncio.sleep(0)
    await limiter.aclose()
    decisions = await asyncio.gather(*callers)
    assert all(decision.limit == 5 for decision in decisions)


async def wait_until_back(limiter: ClusterLimiter) -> None:
    """Return once the limiter counts in Redis again."""
    async with asyncio.timeout(60):
        while limiter.is_local:  # noqa: ASYNC110  # Nothing tells of it but the limiter itself.
            await asyncio.sleep(0.01)
    assert (await limiter.take("another key", 0.001, 10)).limit == 10
