"""Each part counts what it does, under its one metric."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from tallypost_resilience.breaker import Breaker
from tallypost_resilience.bulkhead import Bulkhead, BulkheadFull
from tallypost_resilience.circuit import BreakerConfig
from tallypost_resilience.deadline import Deadline, DeadlineExceeded
from tallypost_resilience.egress import Egress
from tallypost_resilience.egress_rules import EgressForbidden, EgressRules
from tallypost_resilience.idempotency import SingleFlight
from tallypost_resilience.retry import RetryPolicy, retrying
from tallypost_telemetry import metrics

LATER = Deadline.after(3600)


def value_of(name: str, labels: dict[str, str]) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


@contextmanager
def counted(name: str, times: int = 1, **labels: str) -> Iterator[None]:
    """Fails unless the sample rises by `times` inside."""
    before = value_of(name, labels)
    yield
    assert value_of(name, labels) - before == times


async def test_deadlines_that_pass() -> None:
    with counted("tallypost_deadlines_exceeded_total", 3):
        for work in (Deadline.after(0).require, lambda: Deadline.after(0).clip(1)):
            with contextlib.suppress(DeadlineExceeded):
                work()
        with contextlib.suppress(DeadlineExceeded):
            async with Deadline.after(0.001).enforced():
                await asyncio.Event().wait()


async def test_retries() -> None:
    async def fail() -> None:
        raise OSError

    policy = RetryPolicy((0.001, 0.001))
    with (
        counted("tallypost_retries_total", 2, operation="sample"),
        contextlib.suppress(OSError),
    ):
        await retrying(fail, policy, name="sample", on=OSError, deadline=LATER)


async def test_changes_of_a_breaker() -> None:
    now_s = 0.0
    breaker = Breaker("sample", BreakerConfig(min_calls=1, open_s=5), clock=lambda: now_s)
    name = "tallypost_breaker_changes_total"
    with (
        counted(name, breaker="sample", state="open"),
        counted(name, breaker="sample", state="half_open"),
        counted(name, breaker="sample", state="closed"),
    ):
        with contextlib.suppress(OSError):
            async with breaker.guard("key"):
                raise OSError
        now_s = 5.0
        async with breaker.guard("key"):
            pass


async def test_circuits_of_breakers_by_the_state_that_each_is_in_now() -> None:
    now_s = [1000.0]
    config = BreakerConfig(min_calls=1, failure_rate=1.0, open_s=10)
    one, other = (Breaker("counted", config, clock=lambda: now_s[0]) for _ in range(2))

    def states() -> list[float]:
        name = "tallypost_breaker_circuits"
        return [
            value_of(name, {"breaker": "counted", "state": state})
            for state in ("closed", "open", "half_open")
        ]

    async with one.guard("well"), other.guard("well"):
        assert states() == [2, 0, 0]
    with contextlib.suppress(OSError):
        async with other.guard("ill"):
            raise OSError
    assert states() == [2, 1, 0]
    now_s[0] += 10
    assert states() == [2, 0, 1]


async def test_entries_of_a_bulkhead() -> None:
    bulkhead = Bulkhead("sample", places=1, queue_limit=1)
    name = "tallypost_bulkhead_entries_total"
    with (
        counted(name, bulkhead="sample", result="entered"),
        counted(name, bulkhead="sample", result="late"),
    ):
        async with bulkhead.place("key", LATER):
            with contextlib.suppress(DeadlineExceeded):
                async with bulkhead.place("key", Deadline.after(0.001)):
                    pass
    bulkhead = Bulkhead("sample", places=1, queue_limit=0)
    with counted(name, bulkhead="sample", result="full"):
        async with bulkhead.place("key", LATER):
            with contextlib.suppress(BulkheadFull):
                async with bulkhead.place("key", LATER):
                    pass


async def test_calls_that_run_and_join() -> None:
    flights = SingleFlight[str, None]("sample")
    name = "tallypost_single_flight_calls_total"
    with (
        counted(name, flight="sample", result="ran"),
        counted(name, 2, flight="sample", result="joined"),
    ):
        await asyncio.gather(*(flights.run("key", lambda: asyncio.sleep(0)) for _ in range(3)))


async def test_requests_to_the_outside() -> None:
    egress = Egress("sample", EgressRules())
    name = "tallypost_egress_duration_seconds_count"
    with (
        counted(name, egress="sample", result="egress_forbidden"),
        contextlib.suppress(EgressForbidden),
    ):
        await egress.fetch("GET", "http://127.0.0.1/")
    await egress.aclose()
