"""The limiter against an exact token bucket, and its bounded memory."""

import asyncio
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallypost_resilience.limiter import Decision, Limiter, LocalLimiter
from tests.support.token_bucket import TokenBucket

RATES = st.one_of(
    st.integers(1, 500).map(Fraction), st.builds(Fraction, st.just(1), st.integers(1, 60))
)


class FakeClock:
    """A clock that only a test moves, in whole milliseconds."""

    def __init__(self) -> None:
        # Far from zero, as the clock of a machine that has been up for months.
        self.now_ms = 10_000_000_000

    def __call__(self) -> float:
        return self.now_ms / 1000


def take(limiter: Limiter, key: str, rate: Fraction | float, burst: int, cost: int = 1) -> Decision:
    return asyncio.run(limiter.take(key, float(rate), burst, cost))


@given(
    rate=RATES,
    burst=st.integers(1, 50),
    steps=st.lists(
        st.tuples(st.integers(0, 20) | st.integers(0, 5000), st.integers(1, 50)), max_size=40
    ),
)
@example(rate=Fraction(10), burst=1, steps=[(0, 1), (99, 1), (1, 1)])
@example(rate=Fraction(500), burst=1, steps=[(0, 1), (1, 1), (1, 1)])
def test_decides_as_an_exact_token_bucket_does(
    rate: Fraction, burst: int, steps: list[tuple[int, int]]
) -> None:
    clock = FakeClock()
    limiter = LocalLimiter(clock=clock)
    bucket = TokenBucket.full(rate, burst, clock.now_ms * 1000)
    for wait_ms, wanted in steps:
        clock.now_ms += wait_ms
        cost = min(wanted, burst)
        decision = take(limiter, "key", rate, burst, cost)
        assert decision.allowed == bucket.take(clock.now_ms * 1000, cost)
        assert decision.limit == burst
        assert decision.remaining == bucket.tokens // 1
        assert decision.reset_s == pytest.approx(bucket.reset_s(), abs=1e-4)
        wait_s = 0 if decision.allowed else bucket.wait_s(cost)
        assert decision.retry_after_s == pytest.approx(wait_s, abs=1e-4)


@given(rate=RATES, burst=st.integers(1, 50), cost=st.integers(1, 50))
def test_request_passes_after_the_time_it_was_told_to_wait(
    rate: Fraction, burst: int, cost: int
) -> None:
    now = 10_000_000.0
    limiter = LocalLimiter(clock=lambda: now)
    cost = min(cost, burst)
    decision = take(limiter, "key", rate, burst, cost)
    while decision.allowed:
        decision = take(limiter, "key", rate, burst, cost)
    now += decision.retry_after_s
    assert take(limiter, "key", rate, burst, cost).allowed


@pytest.mark.parametrize("rate", [3, 7, 10, 300])
def test_client_that_keeps_exactly_to_the_rate_is_never_refused(rate: int) -> None:
    now = start = 10_000_000.0
    limiter = LocalLimiter(clock=lambda: now)
    assert take(limiter, "key", rate, 5, 5).allowed
    for number in range(1, 2000):
        now = start + number / rate
        assert take(limiter, "key", rate, 5).allowed


def test_burst_passes_at_once_and_the_next_is_refused() -> None:
    limiter = LocalLimiter(clock=FakeClock())
    decisions = [take(limiter, "key", 10, 3) for _ in range(4)]
    assert [decision.allowed for decision in decisions] == [True, True, True, False]
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0]


def test_refused_request_takes_nothing() -> None:
    limiter = LocalLimiter(clock=FakeClock())
    take(limiter, "key", 1, 5, 3)
    assert not take(limiter, "key", 1, 5, 3).allowed
    assert take(limiter, "key", 1, 5, 2).allowed


def test_keys_do_not_share_an_allowance() -> None:
    limiter = LocalLimiter(clock=FakeClock())
    assert take(limiter, "one tenant", 1, 1).allowed
    assert not take(limiter, "one tenant", 1, 1).allowed
    assert take(limiter, "another tenant", 1, 1).allowed


def test_higher_rate_counts_from_the_next_request_on() -> None:
    clock = FakeClock()
    limiter = LocalLimiter(clock=clock)
    for _ in range(10):
        take(limiter, "key", 1, 10)
    clock.now_ms += 100
    assert not take(limiter, "key", 1, 10).allowed
    assert take(limiter, "key", 100, 1000).allowed


@pytest.mark.parametrize(
    ("rate", "burst", "cost"),
    [
        (0, 1, 1),
        (-1, 1, 1),
        (float("inf"), 1, 1),
        (float("nan"), 1, 1),
        (1, 0, 1),
        (1, 1, 0),
        (1, 1, 2),
    ],
)
def test_meaningless_limit_is_refused_and_takes_nothing(rate: float, burst: int, cost: int) -> None:
    limiter = LocalLimiter(clock=FakeClock())
    take(limiter, "key", 1, 1)
    with pytest.raises(ValueError, match="must be"):
        take(limiter, "key", rate, burst, cost)
    assert not take(limiter, "key", 1, 1).allowed


def test_idle_keys_are_forgotten() -> None:
    clock = FakeClock()
    limiter = LocalLimiter(clock=clock)
    for number in range(1000):
        take(limiter, f"key {number}", 10, 10)
    assert len(limiter) == 1000
    clock.now_ms += 1000
    for number in range(500):
        take(limiter, f"other key {number}", 10, 10)
    assert len(limiter) == 500


def test_memory_is_bounded_even_while_no_key_is_idle() -> None:
    limiter = LocalLimiter(max_keys=100, clock=FakeClock())
    for number in range(1000):
        take(limiter, f"key {number}", 1, 10)
    assert len(limiter) == 100


def test_key_used_least_recently_is_forgotten_first() -> None:
    limiter = LocalLimiter(max_keys=2, clock=FakeClock())
    take(limiter, "busy", 1, 1)
    take(limiter, "quiet", 1, 1)
    take(limiter, "busy", 1, 1)
    take(limiter, "new", 1, 1)
    assert not take(limiter, "busy", 1, 1).allowed
    assert take(limiter, "quiet", 1, 1).allowed


def test_limiter_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="max_keys"):
        LocalLimiter(max_keys=0)
