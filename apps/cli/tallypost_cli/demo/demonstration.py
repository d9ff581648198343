"""Puts the demo together beside an `up`, in the supervisor's process."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec import Struct, structs

from tallypost_cli import folders, seed, up
from tallypost_cli.companions import Started
from tallypost_cli.demo.clients import APIClient, Simulator
from tallypost_cli.demo.journal import Journal
from tallypost_cli.demo.machinery import Machinery
from tallypost_cli.demo.panel import Panel, controller
from tallypost_cli.demo.refusals import refuse_elsewhere, refuse_routes
from tallypost_cli.demo.samples import SampleWriter, list_accounts
from tallypost_cli.demo.stage import Stage
from tallypost_cli.demo.state import PROVIDERS, SES, SMTP
from tallypost_cli.demo.story import Story
from tallypost_cli.demo.traffic import Traffic
from tallypost_cli.environment import child_environment
from tallypost_cli.errors import StartUpError
from tallypost_cli.ports import find_free_port
from tallypost_cli.probes import answer_probe, http_probe
from tallypost_cli.programs import Program
from tallypost_cli.supervisor import Say
from tallypost_core.settings.apps import LocalSESSettings
from tallypost_core.settings.groups import LogSettings
from tallypost_simulators.ses_account import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from tallypost_telemetry import logging, serving

FILE_NAME = "demo.env"

_NOTE = "Address and token of the demo's controller, as long as it runs."
_LOOPBACK = "127.0.0.1"
_WORKER, _SECOND_WORKER = "worker", "worker-2"
_INBOX, _SES = "local-inbox", "local-ses"
# Of each simulator: where its knobs are turned.
_CONTROLS = {SES: "TALLYPOST_LOCAL_SES_CONTROL_", SMTP: "TALLYPOST_INBOX_CONTROL_"}
# So that what the demo puts off comes back while somebody looks.
_RETRY_SCHEDULE_S = "3,5,8,13,20,30,60,120,300,900,3600,14400,43200"
_POLL_S = 0.02


def run(folder: Path, environ: Mapping[str, str], say: Say) -> None:
    """Run the system with the demo beside it; as `up.run`, and raises what that raises.

    Raises StartUpError too where settings or routes lead away from this machine.
    """
    refuse_elsewhere(environ)
    logging.configure(LogSettings(level="warning", format="console"), "demo")
    demonstration = Demonstration(folder)
    # Addresses of another demo would win over those of this one.
    own = demonstration.addresses()
    environ = {name: value for name, value in environ.items() if name not in own}
    up.run(folder, environ, say, companion=demonstration)


class _Door(Struct, frozen=True):
    """Where something listens for commands, and what it takes as a bearer token."""

    port: int
    token: str


class Demonstration:
    """The companion of one system: traffic, story, and the controller with its address."""

    command = "demo"

    def __init__(self, folder: Path) -> None:
        """folder gets the file that names the controller."""
        self._file = folder / FILE_NAME
        self._controller = _make_door()
        self._simulators = {provider: _make_door() for provider in PROVIDERS}
        self._ses_port = find_free_port()
        self._parts = AsyncExitStack()

    @property
    def _url(self) -> str:
        return f"http://{_LOOPBACK}:{self._controller.port}"

    def settings(self) -> dict[str, str]:
        """The addresses, two providers that end on this machine, and retries that one can watch."""
        return self.addresses() | {
            "TALLYPOST_PROVIDERS": ",".join(PROVIDERS),
            "TALLYPOST_SES_ENDPOINT": f"http://{_LOOPBACK}:{self._ses_port}",
            "TALLYPOST_SES_REGION": REGION,
            "TALLYPOST_SES_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "TALLYPOST_SES_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "TALLYPOST_DELIVERY_RETRY_SCHEDULE_S": _RETRY_SCHEDULE_S,
        }

    def addresses(self) -> dict[str, str]:
        """Where the console finds the controller, and this the knobs of the simulators."""
        doors = {_CONTROLS[provider]: door for provider, door in self._simulators.items()}
        return {
            "TALLYPOST_CONSOLE_DEMO_URL": self._url,
            "TALLYPOST_CONSOLE_DEMO_TOKEN": self._controller.token,
            **{f"{prefix}PORT": str(door.port) for prefix, door in doors.items()},
            **{f"{prefix}TOKEN": door.token for prefix, door in doors.items()},
            "TALLYPOST_LOCAL_SES_PORT": str(self._ses_port),
            "TALLYPOST_LOCAL_SES_DOMAINS": ",".join(seed.DOMAINS),
        }

    def refine(self, programs: list[Program]) -> list[Program]:
        """A second worker, so that one can be killed while mail goes on, and an SES."""
        found = {program.name: program for program in programs}
        return [*programs, self._second(found[_WORKER]), self._ses_beside(found[_INBOX])]

    def _second(self, worker: Program) -> Program:
        port = find_free_port()
        own = {"TALLYPOST_WORKER_HOST": _LOOPBACK, "TALLYPOST_WORKER_PORT": str(port)}
        return structs.replace(
            worker,
            name=_SECOND_WORKER,
            environment=worker.environment | own,
            probe=http_probe(_LOOPBACK, port),
        )

    def _ses_beside(self, inbox: Program) -> Program:
        """A program like that of the Inbox, with whose login it keeps messages."""
        return structs.replace(
            inbox,
            name=_SES,
            command=[*inbox.command[:-1], _SES],
            environment=child_environment(LocalSESSettings, self.addresses(), inbox.environment),
            probe=answer_probe(_LOOPBACK, self._ses_port),
        )

    async def start(self, started: Started) -> list[str]:
        """Send, serve the controller, and let the story begin; the line says where the panel is.

        Raises StartUpError, and sends nothing, where a sample tenant has routes.
        """
        journal = Journal()
        api = APIClient(started.ports["TALLYPOST_API_PORT"])
        self._parts.push_async_callback(api.close)
        await refuse_routes(started.access, api.count_routes)
        simulators = {
            provider: Simulator(provider, PROVIDERS[provider], door.port, door.token)
            for provider, door in self._simulators.items()
        }
        for simulator in simulators.values():
            self._parts.push_async_callback(simulator.close)
        traffic = Traffic(api.send, SampleWriter(list_accounts(started.access)), journal)
        self._run_beside(asyncio.create_task(traffic.run(), name="demo traffic"))
        machinery = Machinery(started.supervisor, (_WORKER, _SECOND_WORKER), started.redis_url)
        stage = Stage(traffic, simulators, machinery, journal)
        story = Story(stage)
        await self._serve(Panel(stage, story))
        self._parts.push_async_callback(story.close)
        await story.start()
        return [f"Demo: {started.console_url}/demo"]

    async def stop(self) -> None:
        """End story, controller and traffic, in this order, and forget the controller's file."""
        await self._parts.aclose()

    async def _serve(self, panel: Panel) -> None:
        app, port = controller(panel, self._controller.token), self._controller.port
        server = asyncio.create_task(
            serving.serve(app, _LOOPBACK, port, asyncio.Event()), name="demo controller"
        )
        self._run_beside(server)
        while not await _answers(port):
            if server.done():
                raise StartUpError(f"The demo's controller ended: {server.exception()}")
            await asyncio.sleep(_POLL_S)
        folders.write_assignments(
            self._file, _NOTE, {"DEMO_URL": self._url, "DEMO_TOKEN": self._controller.token}
        )
        self._parts.callback(self._file.unlink, missing_ok=True)

    def _run_beside(self, task: asyncio.Task[None]) -> None:
        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._parts.push_async_callback(end)


def _make_door() -> _Door:
    return _Door(find_free_port(), secrets.token_urlsafe(24))


async def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        with socket.socket() as probe:
            probe.setblocking(False)
            await asyncio.get_running_loop().sock_connect(probe, (_LOOPBACK, port))
        return True
    return False
