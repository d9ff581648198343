"""The breaker against a model of its states, and what it promises to one process."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest
import structlog
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import Struct

from tallypost_core.errors import AppError, ErrorKind
from tallypost_resilience.breaker import Breaker, BreakerOpen, GuardedCall, judge_error
from tallypost_resilience.circuit import BreakerConfig, BreakerState, Verdict

KEY = "account"


class Outage(AppError):
    """Away."""

    code = "outage"
    kind = ErrorKind.UNAVAILABLE


class Refused(AppError):
    """The peer answered: no."""

    code = "refused"


class Fault(Exception):
    """A mistake of ours."""


ERRORS: dict[Verdict, BaseException | None] = {
    Verdict.SUCCESS: None,
    Verdict.FAILURE: Outage(),
    Verdict.DOWN: None,
    Verdict.NONE: Fault(),
}


class FakeClock:
    """A clock that only a test moves, in whole seconds."""

    def __init__(self) -> None:
        self.now_s = 10_000

    def __call__(self) -> float:
        return float(self.now_s)


class OpenCall(Struct):
    """A call of the model that has begun and not ended."""

    guard: AbstractAsyncContextManager[GuardedCall]
    call: GuardedCall
    era: int
    is_probe: bool


class BreakerMachine(RuleBasedStateMachine):
    """Ten slots of one second each, so that the model can count exactly."""

    CONFIG = BreakerConfig(
        window_s=10, min_calls=3, failure_rate=0.5, open_s=5, longest_open_s=18, probe_s=4
    )

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.breaker = Breaker("model", self.CONFIG, clock=self.clock)
        self.calls: list[OpenCall] = []
        self.history: list[tuple[int, bool]] = []
        self.closed_until: int | None = None
        self.probe_until: int | None = None
        self.open_s = 5
        self.era = 0

    def teardown(self) -> None:
        for call in self.calls:
            self._end(call, Verdict.NONE)
        self.runner.close()

    @initialize()
    def start(self) -> None:
        assert self.breaker.state(KEY) is BreakerState.CLOSED

    @rule(seconds=st.integers(1, 12))
    def wait(self, seconds: int) -> None:
        self.clock.now_s += seconds

    @rule()
    def call(self) -> None:
        guard = self.breaker.guard(KEY)
        state, now = self._state(), self.clock.now_s
        is_probing = self.probe_until is not None and now < self.probe_until
        if state is BreakerState.OPEN or (state is BreakerState.HALF_OPEN and is_probing):
            with pytest.raises(BreakerOpen) as refused:
                self.runner.run(guard.__aenter__())
            assert refused.value.retry_after_s is not None
            assert refused.value.retry_after_s > 0
            assert self.breaker.wait_s(KEY) > 0
            return
        assert self.breaker.wait_s(KEY) == 0
        call = self.runner.run(guard.__aenter__())
        is_probe = state is BreakerState.HALF_OPEN
        if is_probe:
            self.era += 1
            self.probe_until = now + int(self.CONFIG.probe_s)
        self.calls.append(OpenCall(guard, call, self.era, is_probe))

    @rule(data=st.data(), verdict=st.sampled_from(Verdict))
    def end(self, data: st.DataObject, verdict: Verdict) -> None:
        if not self.calls:
            return
        call = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self._end(call, verdict)
        if call.era != self.era:
            return
        if call.is_probe:
            self.era += 1
            self.probe_until = None
            if verdict is Verdict.SUCCESS:
                self.closed_until = None
                self.open_s = 5
            elif verdict in {Verdict.FAILURE, Verdict.DOWN}:
                self.open_s = min(2 * self.open_s, 18)
                self._open()
        elif verdict is Verdict.DOWN:
            self._open()
        elif verdict is not Verdict.NONE:
            self.history.append((self.clock.now_s, verdict is Verdict.FAILURE))
            recent = [failed for at, failed in self.history if at > self.clock.now_s - 10]
            is_bad = len(recent) >= 3 and sum(recent) * 2 >= len(recent)
            if verdict is Verdict.FAILURE and is_bad:
                self._open()

    @invariant()
    def state_is_that_of_the_model(self) -> None:
        assert self.breaker.state(KEY) is self._state()

    def _open(self) -> None:
        self.era += 1
        self.history.clear()
        self.closed_until = self.clock.now_s + self.open_s

    def _state(self) -> BreakerState:
        if self.closed_until is None:
            return BreakerState.CLOSED
        is_open = self.clock.now_s < self.closed_until
        return BreakerState.OPEN if is_open else BreakerState.HALF_OPEN

    def _end(self, call: OpenCall, verdict: Verdict) -> None:
        error = ERRORS[verdict]
        if verdict is Verdict.DOWN:
            call.call.record_down()
        leave = call.guard.__aexit__(type(error) if error else None, error, None)
        assert not self.runner.run(leave)


TestBreakerAsStateMachine = BreakerMachine.TestCase


async def succeed(breaker: Breaker, key: str = KEY) -> None:
    async with breaker.guard(key):
        pass


async def fail(breaker: Breaker, key: str = KEY) -> None:
    with pytest.raises(Outage):
        async with breaker.guard(key):
            raise Outage


async def trip(breaker: Breaker, key: str = KEY) -> None:
    while breaker.state(key) is BreakerState.CLOSED:
        await fail(breaker, key)


CONFIG = BreakerConfig(window_s=10, min_calls=4, failure_rate=0.5, open_s=5, probe_s=60)


@pytest.fixture
def clock() -> FakeClock:
    """The breaker's clock."""
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    """A breaker that opens when half of at least four calls failed."""
    return Breaker("test", CONFIG, clock=clock)


async def test_few_failures_say_nothing(breaker: Breaker) -> None:
    for _ in range(3):
        await fail(breaker)
    assert breaker.state(KEY) is BreakerState.CLOSED
    await fail(breaker)
    assert breaker.state(KEY) is BreakerState.OPEN


async def test_failures_among_many_successes_are_borne(breaker: Breaker) -> None:
    for _ in range(50):
        await succeed(breaker)
        await succeed(breaker)
        await fail(breaker)
    assert breaker.state(KEY) is BreakerState.CLOSED


async def test_old_failures_do_not_count(breaker: Breaker, clock: FakeClock) -> None:
    for _ in range(3):
        await fail(breaker)
    clock.now_s += 11
    await fail(breaker)
    assert breaker.state(KEY) is BreakerState.CLOSED


async def test_open_breaker_does_not_call_and_says_when_to_come_back(
    breaker: Breaker, clock: FakeClock
) -> None:
    await trip(breaker)
    clock.now_s += 2
    called = False
    with pytest.raises(BreakerOpen) as caught:
        async with breaker.guard(KEY):
            called = True
    assert not called
    assert caught.value.retry_after_s == 3


async def test_one_call_at_a_time_probes(breaker: Breaker, clock: FakeClock) -> None:
    await trip(breaker)
    clock.now_s += 5
    async with breaker.guard(KEY):
        for _ in range(3):
            with pytest.raises(BreakerOpen):
                await succeed(breaker)
    assert breaker.state(KEY) is BreakerState.CLOSED
    await succeed(breaker)


async def test_failed_probe_opens_again_for_the_whole_time(
    breaker: Breaker, clock: FakeClock
) -> None:
    await trip(breaker)
    clock.now_s += 5
    await fail(breaker)
    with pytest.raises(BreakerOpen) as caught:
        await succeed(breaker)
    assert caught.value.retry_after_s == 5


async def test_closing_begins_a_new_count(breaker: Breaker, clock: FakeClock) -> None:
    await trip(breaker)
    clock.now_s += 5
    await succeed(breaker)
    for _ in range(3):
        await fail(breaker)
    assert breaker.state(KEY) is BreakerState.CLOSED


async def test_cancelled_probe_gives_its_place_to_the_next(
    breaker: Breaker, clock: FakeClock
) -> None:
    await trip(breaker)
    clock.now_s += 5

    async def hang() -> None:
        async with breaker.guard(KEY):
            await asyncio.Event().wait()

    probe = asyncio.create_task(hang())
    await asyncio.sleep(0)
    with pytest.raises(BreakerOpen):
        await succeed(breaker)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    await succeed(breaker)
    assert breaker.state(KEY) is BreakerState.CLOSED


async def test_probe_that_never_ends_blocks_for_a_bounded_time(
    breaker: Breaker, clock: FakeClock
) -> None:
    await trip(breaker)
    clock.now_s += 5
    lost = breaker.guard(KEY)
    await lost.__aenter__()
    clock.now_s += 59
    with pytest.raises(BreakerOpen):
        await succeed(breaker)
    clock.now_s += 1
    await succeed(breaker)
    # What the lost one says at last is of an earlier time.
    await lost.__aexit__(None, None, None)
    assert breaker.state(KEY) is BreakerState.CLOSED


async def test_verdict_of_a_call_from_before_the_outage_does_not_end_it(
    breaker: Breaker, clock: FakeClock
) -> None:
    async with breaker.guard(KEY):
        await trip(breaker)
    assert breaker.state(KEY) is BreakerState.OPEN


async def test_failure_that_is_no_error_counts_when_it_is_said(breaker: Breaker) -> None:
    for _ in range(4):
        async with breaker.guard(KEY) as call:
            call.record_failure()
    assert breaker.state(KEY) is BreakerState.OPEN


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Outage(), Verdict.FAILURE),
        (ConnectionResetError(), Verdict.FAILURE),
        (TimeoutError(), Verdict.FAILURE),
        (Refused(), Verdict.SUCCESS),
        (Fault(), Verdict.NONE),
        (asyncio.CancelledError(), Verdict.NONE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_outages_are_failures_answers_are_not_and_our_faults_say_nothing(
    error: BaseException, verdict: Verdict
) -> None:
    assert judge_error(error) is verdict


async def test_keys_do_not_share_a_circuit(breaker: Breaker) -> None:
    await trip(breaker, "one")
    await succeed(breaker, "another")
    assert breaker.state("one") is BreakerState.OPEN


async def test_forgotten_key_begins_anew_whatever_its_last_calls_say(breaker: Breaker) -> None:
    async with breaker.guard(KEY) as before:
        await trip(breaker)
        breaker.forget(KEY)
        assert breaker.state(KEY) is BreakerState.CLOSED
        before.record_down()
    assert breaker.state(KEY) is BreakerState.CLOSED
    await succeed(breaker)


async def test_memory_is_bounded_and_the_latest_keys_are_kept(clock: FakeClock) -> None:
    breaker = Breaker("test", CONFIG, max_keys=10, clock=clock)
    await trip(breaker, "kept")
    for number in range(100):
        await succeed(breaker, f"key {number}")
        with pytest.raises(BreakerOpen):
            await succeed(breaker, "kept")
    assert len(breaker) == 10


async def test_each_change_is_logged_once(breaker: Breaker, clock: FakeClock) -> None:
    with structlog.testing.capture_logs() as logs:
        await trip(breaker)
        clock.now_s += 5
        await fail(breaker)
        clock.now_s += 5
        await succeed(breaker)
    assert {entry["event"] for entry in logs} == {"breaker.changed"}
    states = [entry["state"] for entry in logs]
    assert states == ["open", "half_open", "open", "half_open", "closed"]


@pytest.mark.parametrize(
    "numbers",
    [
        {"window_s": 0.0},
        {"open_s": -1.0},
        {"probe_s": float("inf")},
        {"window_s": float("nan")},
        {"min_calls": 0},
        {"failure_rate": 0.0},
        {"failure_rate": 1.1},
        {"failure_rate": float("nan")},
    ],
    ids=str,
)
def test_meaningless_config_is_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        BreakerConfig(**numbers)  # type: ignore[arg-type]  # One of several types.


def test_breaker_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="max_keys"):
        Breaker("test", CONFIG, max_keys=0)
