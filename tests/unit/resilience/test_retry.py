"""Retry delays: on schedule, spread by chance within bounds, and never parked by a peer."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tallypost_core.errors import AppError, ErrorKind
from tallypost_resilience.deadline import Deadline, DeadlineExceeded
from tallypost_resilience.retry import RetryPolicy, next_delay_s, retrying

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


class Away(AppError):
    """Away for a moment."""

    code = "away"
    kind = ErrorKind.UNAVAILABLE


class Peer:
    """Fails as often as it is told, then answers with the number of calls."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.calls = 0

    async def ask(self) -> int:
        self.calls += 1
        if self._failures:
            raise self._failures.pop(0)
        return self.calls


QUICK = RetryPolicy((0.001, 0.002), jitter=0)


async def ask_again(
    operation: Callable[[], Awaitable[int]],
    policy: RetryPolicy = QUICK,
    deadline: Deadline | None = None,
) -> int:
    return await retrying(
        operation, policy, name="ask", on=Away, deadline=deadline or Deadline.after(60)
    )


@pytest.mark.parametrize("failures", [0, 1, 2])
async def test_operation_is_tried_until_it_succeeds(failures: int) -> None:
    peer = Peer(*[Away()] * failures)
    assert await ask_again(peer.ask) == failures + 1


async def test_last_error_is_raised_when_the_schedule_is_used_up() -> None:
    errors = [Away(f"number {number}") for number in range(5)]
    peer = Peer(*errors)
    with pytest.raises(Away) as caught:
        await ask_again(peer.ask)
    assert caught.value is errors[2]
    assert peer.calls == 3


async def test_error_that_will_not_pass_is_raised_at_once() -> None:
    peer = Peer(ValueError("no"), Away())
    with pytest.raises(ValueError, match="no"):
        await ask_again(peer.ask)
    assert peer.calls == 1


async def test_no_attempt_is_waited_for_that_would_begin_after_the_deadline() -> None:
    peer = Peer(Away(), Away())
    with pytest.raises(Away):
        await ask_again(peer.ask, RetryPolicy((3600.0,)), Deadline.after(60))
    assert peer.calls == 1


async def test_attempt_ends_at_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded):
        await ask_again(asyncio.Event().wait, deadline=Deadline.after(0.01))


async def test_no_attempt_begins_without_time() -> None:
    peer = Peer()
    with pytest.raises(DeadlineExceeded):
        await ask_again(peer.ask, deadline=Deadline.after(0))
    assert peer.calls == 0


@pytest.mark.parametrize(("wish_s", "delay_s"), [(None, 0.01), (0.015, 0.015), (900.0, 0.02)])
async def test_wish_of_the_peer_is_met_within_bounds(wish_s: float | None, delay_s: float) -> None:
    peer = Peer(Away(retry_after_s=wish_s))
    with structlog.testing.capture_logs() as logs:
        await ask_again(peer.ask, RetryPolicy((0.01,), jitter=0))
    assert [entry["delay_s"] for entry in logs] == [delay_s]


async def test_log_of_a_retry_does_not_quote_the_error() -> None:
    peer = Peer(Away("someone@example.com"))
    with structlog.testing.capture_logs() as logs:
        await ask_again(peer.ask)
    assert [entry["event"] for entry in logs] == ["retry.scheduled"]
    assert "someone" not in str(logs)


async def test_cancelling_ends_the_attempt_and_all_further_ones() -> None:
    calls: list[asyncio.Event] = []
    begun = asyncio.Event()

    async def hang() -> int:
        calls.append(begun)
        begun.set()
        return await asyncio.Event().wait()

    task = asyncio.create_task(ask_again(hang))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(calls) == 1
