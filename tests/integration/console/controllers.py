"""A controller of a demo that speaks as the real one does, and does nothing."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct, structs

from tallypost_cli.demo.state import (
    Action,
    BurstCommand,
    DemoState,
    SESCommand,
    SMTPCommand,
    StepState,
    StoryCommand,
    StoryState,
    TrafficCommand,
    TrafficState,
)
from tallypost_cli.ports import find_free_port
from tallypost_simulators.control_app import ControlApp, ControlRefused, Endpoint, Nothing
from tallypost_simulators.http_knobs import HTTPKnobs
from tallypost_simulators.smtp_knobs import SMTPKnobs
from tallypost_telemetry import serving
from tests.integration.console.running import DEMO_TOKEN

STATE = DemoState(
    traffic=TrafficState(rate_per_s=20, is_on=True, accepted=1_234, failed=3),
    simulators={
        "ses": HTTPKnobs(knob="reset_after", share=0.75),
        "smtp": SMTPKnobs(latency_ms=500, knob="4xx", share=0.25),
    },
    story=StoryState(
        is_playing=True,
        step=1,
        steps=[StepState("Calm", "All is well.", 0.0), StepState("Storm", "Look at it.", 9.0)],
    ),
    workers=2,
    last_actions=[Action(dt.datetime(2026, 11, 24, 12, 0, 5, tzinfo=dt.UTC), "Redis was emptied")],
)
_COMMANDS: dict[str, type[Struct]] = {
    "/traffic": TrafficCommand,
    "/burst": BurstCommand,
    "/ses": SESCommand,
    "/smtp": SMTPCommand,
    "/story": StoryCommand,
    "/kill-worker": Nothing,
    "/flush-redis": Nothing,
    "/reset": Nothing,
}


class Controller:
    """Keeps what it was told to do; refuses everything where `refuses` is set."""

    def __init__(self) -> None:
        self.done: list[Struct] = []
        self.refuses = False
        self.workers = STATE.workers
        endpoints = {("GET", "/state"): Endpoint(self._read)}
        endpoints |= {
            ("POST", path): Endpoint(self._act, command) for path, command in _COMMANDS.items()
        }
        self.app = ControlApp(DEMO_TOKEN, endpoints)

    async def _read(self, _: Nothing) -> DemoState:
        return structs.replace(STATE, workers=self.workers)

    async def _act(self, command: Struct) -> DemoState:
        if self.refuses:
            raise ControlRefused("no worker is left")
        self.done.append(command)
        return await self._read(Nothing())


@asynccontextmanager
async def run_controller(controller: Controller) -> AsyncIterator[str]:
    """Serve a controller until the end of the block; yields its address."""
    port, stop = find_free_port(), asyncio.Event()
    served = asyncio.create_task(serving.serve(controller.app, "127.0.0.1", port, stop))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        await served
