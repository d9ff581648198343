"""What a person at the control panel may do. Whoever touches a knob has taken over the story."""

import asyncio
import contextlib
from functools import partial

from msgspec import UNSET, Struct, structs

from tallypost_cli.demo.stage import Stage
from tallypost_cli.demo.state import (
    DEFAULT_RATE_PER_S,
    SES,
    SMTP,
    BurstCommand,
    DemoState,
    KnobsCommand,
    SESCommand,
    SMTPCommand,
    StoryCommand,
    TrafficCommand,
)
from tallypost_cli.demo.story import Story
from tallypost_simulators.control_app import ControlApp, ControlRefused, Endpoint, Nothing

_TAKEN_OVER = "somebody took over"


class Panel:
    """Carries commands out; every method returns how things stand afterwards.

    What cannot be done now raises ControlRefused.
    """

    def __init__(self, stage: Stage, story: Story) -> None:
        self._stage = stage
        self._story = story
        self._knobs = {name: it.kind() for name, it in stage.simulators.items()}

    async def read_state(self, _: Nothing) -> DemoState:
        """How things stand; for a simulator that is away, how it stood last."""
        # Side by side: the console waits for less than two that do not answer.
        await asyncio.gather(*map(self._read_knobs, self._stage.simulators))
        return DemoState(
            traffic=self._stage.traffic.state,
            simulators=dict(self._knobs),
            story=self._story.state,
            workers=self._stage.machinery.count_workers(),
            last_actions=self._stage.journal.list_newest(),
        )

    async def set_traffic(self, command: TrafficCommand) -> DemoState:
        """Change the rate of the sample traffic."""
        await self._story.interrupt(_TAKEN_OVER)
        self._stage.set_rate(command.rate_per_s)
        return await self.read_state(Nothing())

    async def burst(self, command: BurstCommand) -> DemoState:
        """Send many sample emails at once."""
        await self._story.interrupt(_TAKEN_OVER)
        self._stage.burst(command.count)
        return await self.read_state(Nothing())

    async def turn_knobs(self, provider: str, command: KnobsCommand) -> DemoState:
        """Turn knobs of a provider's simulator; those that are not named stay."""
        await self._story.interrupt(_TAKEN_OVER)
        present = await self._stage.simulators[provider].read_knobs()
        await self._stage.turn_knobs(provider, structs.replace(present, **_given(command)))
        return await self.read_state(Nothing())

    async def kill_worker(self, _: Nothing) -> DemoState:
        """Kill a worker process."""
        await self._story.interrupt(_TAKEN_OVER)
        await self._stage.kill_worker()
        return await self.read_state(Nothing())

    async def flush_redis(self, _: Nothing) -> DemoState:
        """Empty Redis."""
        await self._story.interrupt(_TAKEN_OVER)
        await self._stage.flush_redis()
        return await self.read_state(Nothing())

    async def play(self, command: StoryCommand) -> DemoState:
        """Start the story anew, or stop it."""
        if command.action == "start":
            await self._story.start()
        else:
            await self._story.interrupt("somebody stopped it")
        return await self.read_state(Nothing())

    async def reset(self, _: Nothing) -> DemoState:
        """Back to the usual traffic and providers that take everything; no story."""
        await self._story.interrupt(_TAKEN_OVER)
        self._stage.traffic.drop_waiting()
        self._stage.set_rate(DEFAULT_RATE_PER_S)
        rested = await asyncio.gather(
            *map(self._stage.rest, self._stage.simulators), return_exceptions=True
        )
        # One that is away keeps the others from nothing.
        if refused := next((it for it in rested if it is not None), None):
            raise refused
        return await self.read_state(Nothing())

    async def _read_knobs(self, provider: str) -> None:
        # One that is restarting comes back without faults, and then says so itself.
        with contextlib.suppress(ControlRefused):
            self._knobs[provider] = await self._stage.simulators[provider].read_knobs()


def controller(panel: Panel, token: str) -> ControlApp:
    """The panel over HTTP."""
    return ControlApp(
        token,
        {
            ("GET", "/state"): Endpoint(panel.read_state),
            ("POST", "/traffic"): Endpoint(panel.set_traffic, TrafficCommand),
            ("POST", "/burst"): Endpoint(panel.burst, BurstCommand),
            ("POST", f"/{SES}"): Endpoint(partial(panel.turn_knobs, SES), SESCommand),
            ("POST", f"/{SMTP}"): Endpoint(partial(panel.turn_knobs, SMTP), SMTPCommand),
            ("POST", "/kill-worker"): Endpoint(panel.kill_worker),
            ("POST", "/flush-redis"): Endpoint(panel.flush_redis),
            ("POST", "/story"): Endpoint(panel.play, StoryCommand),
            ("POST", "/reset"): Endpoint(panel.reset),
        },
    )


def _given(command: Struct) -> dict[str, object]:
    return {name: value for name, value in structs.asdict(command).items() if value is not UNSET}
