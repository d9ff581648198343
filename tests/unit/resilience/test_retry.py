"""Retry delays: on schedule, spread by chance within bounds, and never parked by a peer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_resilience.retry import RetryPolicy, next_delay_s

DELAYS = st.floats(0.001, 1e6)
POLICIES = st.builds(
    RetryPolicy,
    st.lists(DELAYS, min_size=1, max_size=20).map(tuple),
    st.floats(0, 1),
)
SLACK = 1 + 1e-9


@given(POLICIES, st.data())
def test_delay_stays_within_jitter_of_the_schedule(
    policy: RetryPolicy, data: st.DataObject
) -> None:
    attempt = data.draw(st.integers(1, len(policy.schedule_s)))
    scheduled = policy.schedule_s[attempt - 1]
    delay = next_delay_s(policy, attempt)
    assert delay is not None
    assert scheduled * (1 - policy.jitter) / SLACK <= delay
    assert delay <= scheduled * (1 + policy.jitter) * SLACK


@given(POLICIES, st.integers(1, 1000))
def test_attempts_end_with_the_schedule(policy: RetryPolicy, beyond: int) -> None:
    assert next_delay_s(policy, len(policy.schedule_s)) is not None
    assert next_delay_s(policy, len(policy.schedule_s) + beyond) is None
    assert next_delay_s(policy, len(policy.schedule_s) + beyond, retry_after_s=1) is None


@given(POLICIES, st.data())
def test_wish_of_the_peer_is_met_up_to_twice_the_schedule(
    policy: RetryPolicy, data: st.DataObject
) -> None:
    attempt = data.draw(st.integers(1, len(policy.schedule_s)))
    wish = data.draw(st.floats(0, 1e9) | st.just(float("inf")))
    scheduled = policy.schedule_s[attempt - 1]
    delay = next_delay_s(policy, attempt, retry_after_s=wish)
    assert delay is not None
    assert delay >= min(wish, 2 * scheduled)
    assert delay <= 2 * scheduled * SLACK


@pytest.mark.parametrize("wish", [0.0, -5.0, float("nan"), float("-inf")])
def test_meaningless_wish_changes_nothing(wish: float) -> None:
    policy = RetryPolicy((30.0,), jitter=0)
    assert next_delay_s(policy, 1, retry_after_s=wish) == 30.0


def test_delay_without_jitter_is_the_schedule_itself() -> None:
    policy = RetryPolicy((1.0, 5.0, 25.0), jitter=0)
    assert [next_delay_s(policy, attempt) for attempt in range(1, 5)] == [1.0, 5.0, 25.0, None]


def test_jitter_spreads_delays() -> None:
    policy = RetryPolicy((100.0,), jitter=0.5)
    delays = [next_delay_s(policy, 1) or 0 for _ in range(1000)]
    assert min(delays) < 75
    assert max(delays) > 125


def test_empty_schedule_never_retries() -> None:
    assert next_delay_s(RetryPolicy(()), 1) is None


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempt_starts_at_1(attempt: int) -> None:
    with pytest.raises(ValueError, match="starts at 1"):
        next_delay_s(RetryPolicy((1.0,)), attempt)


@pytest.mark.parametrize("delay", [0.0, -1.0, float("inf"), float("nan")])
def test_meaningless_schedule_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        RetryPolicy((1.0, delay))


@pytest.mark.parametrize("jitter", [-0.1, 1.1, float("nan")])
def test_meaningless_jitter_is_refused(jitter: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        RetryPolicy((1.0,), jitter)
