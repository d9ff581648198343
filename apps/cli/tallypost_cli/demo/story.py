"""The unattended story: what a viewer sees in a good minute, as data, and what plays it."""

import asyncio
import contextlib
from collections.abc import Sequence

from msgspec import Struct

from tallypost_cli.demo.stage import QUIET, Stage
from tallypost_cli.demo.state import DEFAULT_RATE_PER_S, StepState, StoryState
from tallypost_core.clock import monotonic_s
from tallypost_simulators.control_app import ControlRefused
from tallypost_simulators.fault_control import FaultKnobs


class Step(Struct, frozen=True, kw_only=True):
    """One step; at_s counts from the story's start, text says what to look at."""

    name: str
    text: str
    at_s: float
    rate_per_s: float | None = None
    burst: int = 0
    smtp: FaultKnobs | None = None
    kills_worker: bool = False
    flushes_redis: bool = False


STEPS = (
    Step(
        name="Steady traffic",
        text="A few emails a second come in through the API; watch each go from queued to sent.",
        at_s=0,
        rate_per_s=DEFAULT_RATE_PER_S,
        smtp=QUIET,
    ),
    Step(
        name="A burst of 1,000",
        text="A thousand emails come at once; watch the queue grow, and drain within seconds.",
        at_s=8,
        burst=1000,
    ),
    Step(
        name="The mail server refuses",
        text="The receiving server puts off 60 % of recipients (4xx); watch them become delayed.",
        at_s=18,
        burst=100,
        smtp=FaultKnobs(knob="4xx", share=0.6),
    ),
    Step(
        name="It takes mail again",
        text="The server has recovered; watch the delayed emails leave on their next attempt.",
        at_s=28,
        smtp=QUIET,
    ),
    Step(
        name="A worker is killed",
        text="One of two workers dies with emails in hand; watch the other go on, and free those "
        "30 seconds later.",
        at_s=37,
        burst=500,
        smtp=FaultKnobs(latency_ms=100),
        kills_worker=True,
    ),
    Step(
        name="Redis is flushed",
        text="Redis forgets everything; watch delivery go on, since PostgreSQL holds the queue.",
        at_s=47,
        smtp=QUIET,
        flushes_redis=True,
    ),
    Step(
        name="Calm",
        text="Traffic is steady again; watch the dead worker's emails leave, so that none is lost.",
        at_s=57,
    ),
)
LENGTH_S = 72.0

# By then the worker has emails in hand.
_BEFORE_KILL_S = 1.0


class Story:
    """Plays steps on a stage. Its methods may be called at any time; one waits for another."""

    def __init__(
        self, stage: Stage, steps: Sequence[Step] = STEPS, length_s: float = LENGTH_S
    ) -> None:
        """length_s is until the end of the last step."""
        self._stage = stage
        self._steps = steps
        self._length_s = length_s
        self._playing: asyncio.Task[None] | None = None
        self._step: int | None = None
        self._has_turned_knobs = False
        # Without it, two that start at once would each play, and one could not be stopped.
        self._turns = asyncio.Lock()

    @property
    def state(self) -> StoryState:
        """What plays, and all steps."""
        return StoryState(
            is_playing=self._playing is not None and not self._playing.done(),
            step=self._step,
            steps=[StepState(step.name, step.text, step.at_s) for step in self._steps],
        )

    async def start(self) -> None:
        """Play from the beginning, also where it plays already."""
        async with self._turns:
            await self._cancel()
            self._stage.journal.note("The story starts.")
            self._playing = asyncio.create_task(self._play())

    async def interrupt(self, reason: str) -> None:
        """Stop, and take back what the story did to the mail server; nothing if it is over.

        reason is noted.
        """
        async with self._turns:
            if self._playing is None:
                return
            await self._cancel()
            self._stage.journal.note(f"The story stops: {reason}.")
            if self._has_turned_knobs:
                self._has_turned_knobs = False
                with contextlib.suppress(ControlRefused):
                    await self._stage.turn_knobs(QUIET)

    async def close(self) -> None:
        """Stop without a word and leave everything as it is."""
        async with self._turns:
            await self._cancel()

    async def _cancel(self) -> None:
        playing, self._playing, self._step = self._playing, None, None
        if playing is not None:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    async def _play(self) -> None:
        started_s = monotonic_s()
        for number, step in enumerate(self._steps):
            await _sleep_until(started_s + step.at_s)
            self._step = number
            self._stage.journal.note(f"Story: {step.name}.")
            try:
                await self._carry_out(step)
            except ControlRefused as refusal:
                self._stage.journal.note(f"The story goes on without this: {refusal}")
        await _sleep_until(started_s + self._length_s)
        self._playing = self._step = None
        self._stage.journal.note("The story is over; the knobs are yours.")

    async def _carry_out(self, step: Step) -> None:
        if step.rate_per_s is not None:
            self._stage.set_rate(step.rate_per_s)
        if step.smtp is not None:
            # Until the answer is there, nobody knows: what is interrupted may have been done.
            self._has_turned_knobs = True
            await self._stage.turn_knobs(step.smtp)
            self._has_turned_knobs = step.smtp != QUIET
        if step.burst:
            self._stage.burst(step.burst)
        if step.kills_worker:
            await asyncio.sleep(_BEFORE_KILL_S)
            await self._stage.kill_worker()
        if step.flushes_redis:
            await self._stage.flush_redis()


async def _sleep_until(at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - monotonic_s()))
