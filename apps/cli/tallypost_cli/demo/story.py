"""The unattended story: what a viewer sees in a good minute, as data, and what plays it."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from tallypost_cli.demo.stage import Stage
from tallypost_cli.demo.state import DEFAULT_RATE_PER_S, SES, SMTP, StepState, StoryState
from tallypost_core.clock import monotonic_s
from tallypost_simulators.control_app import ControlRefused
from tallypost_simulators.fault_control import Knobs
from tallypost_simulators.http_knobs import HTTPKnobs
from tallypost_simulators.smtp_knobs import SMTPKnobs


class Step(Struct, frozen=True, kw_only=True):
    """One step; at_s counts from the story's start, text says what to look at.

    knobs are those of a provider's simulator, by the name of the provider.
    """

    name: str
    text: str
    at_s: float
    rate_per_s: float | None = None
    burst: int = 0
    knobs: Mapping[str, Knobs] = {}
    kills_worker: bool = False
    flushes_redis: bool = False


# Providers fail before the burst: its thousand successes would hold their breakers closed. Some
# batches are of test mode, which asks neither, so that one of them would not do here.
STEPS = (
    Step(
        name="Steady traffic",
        text="A few emails a second come in through the API and leave by ses, the first provider; "
        "watch them go from queued to sent.",
        at_s=0,
        rate_per_s=DEFAULT_RATE_PER_S,
        knobs={SES: HTTPKnobs(), SMTP: SMTPKnobs()},
    ),
    Step(
        name="The first provider fails",
        text="ses says that every request failed (5xx); watch its breaker open under Provider "
        "accounts, and mail go on at the same rate by smtp.",
        at_s=8,
        burst=300,
        knobs={SES: HTTPKnobs(knob="5xx")},
    ),
    Step(
        name="The second puts mail off",
        text="With ses still away smtp puts off 60 % of recipients (4xx); watch the line of what "
        "comes again rise.",
        at_s=15,
        burst=300,
        knobs={SMTP: SMTPKnobs(knob="4xx", share=0.6)},
    ),
    Step(
        name="Both take mail again",
        text="Both have recovered; watch one email try ses, its breaker close, and what was put "
        "off leave.",
        at_s=21,
        knobs={SES: HTTPKnobs(), SMTP: SMTPKnobs()},
    ),
    Step(
        name="A burst of 1,000",
        text="A thousand emails come at once; watch the queue grow, and drain within seconds.",
        at_s=31,
        burst=1000,
    ),
    Step(
        name="A worker is killed",
        text="One of two workers dies with emails in hand; watch the other go on, and free those "
        "30 seconds later.",
        at_s=42,
        burst=500,
        knobs={SES: HTTPKnobs(latency_ms=100)},
        kills_worker=True,
    ),
    Step(
        name="Redis is flushed",
        text="Redis forgets everything; watch delivery go on, since PostgreSQL holds the queue.",
        at_s=51,
        knobs={SES: HTTPKnobs()},
        flushes_redis=True,
    ),
    Step(
        name="Calm",
        text="Traffic is steady again; watch the dead worker's emails leave, so that none is lost.",
        at_s=60,
    ),
)
LENGTH_S = 78.0

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
        # Of providers whose simulators misbehave because of it.
        self._turned: set[str] = set()
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
        """Stop, and take back what the story did to simulators; nothing if it is over.

        reason is noted.
        """
        async with self._turns:
            if self._playing is None:
                return
            await self._cancel()
            self._stage.journal.note(f"The story stops: {reason}.")
            while self._turned:
                with contextlib.suppress(ControlRefused):
                    await self._stage.rest(self._turned.pop())

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
            await self._carry_out(step)
        await _sleep_until(started_s + self._length_s)
        self._playing = self._step = None
        self._stage.journal.note("The story is over; the knobs are yours.")

    async def _carry_out(self, step: Step) -> None:
        stage = self._stage
        if step.rate_per_s is not None:
            stage.set_rate(step.rate_per_s)
        for provider, knobs in step.knobs.items():
            with self._refusal_told():
                await self._turn_knobs(provider, knobs)
        with self._refusal_told():
            if step.burst:
                stage.burst(step.burst)
            if step.kills_worker:
                await asyncio.sleep(_BEFORE_KILL_S)
                await stage.kill_worker()
            if step.flushes_redis:
                await stage.flush_redis()

    async def _turn_knobs(self, provider: str, knobs: Knobs) -> None:
        # Until the answer is there, nobody knows: what is interrupted may have been done.
        self._turned.add(provider)
        await self._stage.turn_knobs(provider, knobs)
        if knobs == self._stage.simulators[provider].kind():
            self._turned.discard(provider)

    @contextlib.contextmanager
    def _refusal_told(self) -> Iterator[None]:
        try:
            yield
        except ControlRefused as refusal:
            self._stage.journal.note(f"The story goes on without this: {refusal}")


async def _sleep_until(at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - monotonic_s()))
