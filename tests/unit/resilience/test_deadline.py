"""Deadlines: what is left never grows, and inner timeouts never exceed the outer one."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_resilience import deadline as deadline_module
from tallypost_resilience.deadline import Deadline, DeadlineExceeded

SECONDS = st.floats(0, 1e6)


class FakeClock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock that deadlines read."""
    fake = FakeClock()
    monkeypatch.setattr(deadline_module, "monotonic_s", fake)
    return fake


@given(timeout_s=SECONDS, step_s=SECONDS, elapsed_s=SECONDS)
def test_clipped_timeout_never_reaches_beyond_the_deadline(
    timeout_s: float, step_s: float, elapsed_s: float
) -> None:
    clock = FakeClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadline_module, "monotonic_s", clock)
        deadline = Deadline.after(timeout_s)
        clock.now_s += elapsed_s
        if deadline.is_over:
            assert deadline.remaining_s == 0
            with pytest.raises(DeadlineExceeded):
                deadline.clip(step_s)
        else:
            clipped = deadline.clip(step_s)
            assert clipped <= step_s
            assert clock.now_s + clipped <= deadline.at_s + 1e-6
            assert clipped in (step_s, deadline.remaining_s)


@given(outer_s=SECONDS, inner_s=SECONDS)
def test_deadline_of_a_part_is_never_later_than_the_whole(outer_s: float, inner_s: float) -> None:
    clock = FakeClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadline_module, "monotonic_s", clock)
        outer = Deadline.after(outer_s)
        inner = outer.earlier(inner_s)
        assert inner.at_s <= outer.at_s
        assert inner.at_s == min(outer.at_s, clock.now_s + inner_s)


def test_time_left_counts_down_to_zero_and_stays_there(clock: FakeClock) -> None:
    deadline = Deadline.after(10)
    seen = []
    for _ in range(5):
        seen.append(deadline.remaining_s)
        clock.now_s += 4
    assert seen == [10, 6, 2, 0, 0]


def test_deadline_is_over_from_its_moment_on(clock: FakeClock) -> None:
    deadline = Deadline.after(10)
    seen = {}
    for moment_s in (1000.0, 1009.5, 1010.0, 1011.0):
        clock.now_s = moment_s
        seen[moment_s] = deadline.is_over
    assert seen == {1000.0: False, 1009.5: False, 1010.0: True, 1011.0: True}


def test_requiring_time_raises_once_it_is_used_up(clock: FakeClock) -> None:
    deadline = Deadline.after(10)
    clock.now_s += 9.5
    deadline.require()
    clock.now_s += 0.5
    with pytest.raises(DeadlineExceeded):
        deadline.require()


def test_used_up_time_never_becomes_a_timeout_of_zero(clock: FakeClock) -> None:
    deadline = Deadline.after(10)
    clock.now_s += 10
    with pytest.raises(DeadlineExceeded):
        deadline.clip(5)


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan")])
def test_meaningless_timeout_is_refused(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="negative"):
        Deadline.after(timeout_s)


async def test_work_that_outlasts_its_time_is_cancelled() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(DeadlineExceeded):
        async with Deadline.after(0.01).enforced():
            await work()
    assert ended.is_set()


async def test_work_that_is_done_in_time_is_left_alone() -> None:
    async with Deadline.after(60).enforced():
        await asyncio.sleep(0)


async def test_work_without_time_is_not_begun() -> None:
    begun = False
    with pytest.raises(DeadlineExceeded):
        async with Deadline.after(0).enforced():
            begun = True
    assert not begun


async def test_timeout_of_the_work_itself_is_not_taken_for_the_deadline() -> None:
    async def work() -> None:
        async with Deadline.after(60).enforced():
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await work()
