"""What a person at the control panel may do. Whoever touches a knob has taken over the story."""

import contextlib

from msgspec import UNSET, Struct, structs

from tallypost_cli.demo.stage import QUIET, Stage
from tallypost_cli.demo.state import (
    DEFAULT_RATE_PER_S,
    BurstCommand,
    DemoState,
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
        self._knobs = QUIET

    async def read_state(self, _: Nothing) -> DemoState:
        """How things stand; for a mail server that is away, how it stood last."""
        # One that is restarting comes back without faults, and then says so itself.
        with contextlib.suppress(ControlRefused):
            self._knobs = await self._stage.mail_server.read_knobs()
        return DemoState(
            traffic=self._stage.traffic.state,
            smtp=self._knobs,
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

    async def turn_smtp(self, command: SMTPCommand) -> DemoState:
        """Turn knobs of the mail server; those that are not named stay."""
        await self._story.interrupt(_TAKEN_OVER)
        present = await self._stage.mail_server.read_knobs()
        await self._stage.turn_knobs(structs.replace(present, **_given(command)))
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
        """Back to the usual traffic and a mail server that takes everything; no story."""
        await self._story.interrupt(_TAKEN_OVER)
        self._stage.traffic.drop_waiting()
        self._stage.set_rate(DEFAULT_RATE_PER_S)
        await self._stage.turn_knobs(QUIET)
        return await self.read_state(Nothing())


def controller(panel: Panel, token: str) -> ControlApp:
    """The panel over HTTP."""
    return ControlApp(
        token,
        {
            ("GET", "/state"): Endpoint(panel.read_state),
            ("POST", "/traffic"): Endpoint(panel.set_traffic, TrafficCommand),
            ("POST", "/burst"): Endpoint(panel.burst, BurstCommand),
            ("POST", "/smtp"): Endpoint(panel.turn_smtp, SMTPCommand),
            ("POST", "/kill-worker"): Endpoint(panel.kill_worker),
            ("POST", "/flush-redis"): Endpoint(panel.flush_redis),
            ("POST", "/story"): Endpoint(panel.play, StoryCommand),
            ("POST", "/reset"): Endpoint(panel.reset),
        },
    )


def _given(command: Struct) -> dict[str, object]:
    return {name: value for name, value in structs.asdict(command).items() if value is not UNSET}
