"""Puts the demo together beside an `up`, in the supervisor's process."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec import structs

from tallypost_cli import folders, up
from tallypost_cli.companions import Started
from tallypost_cli.demo.clients import APIClient, MailServer
from tallypost_cli.demo.journal import Journal
from tallypost_cli.demo.machinery import Machinery
from tallypost_cli.demo.panel import Panel, controller
from tallypost_cli.demo.refusals import refuse_elsewhere
from tallypost_cli.demo.samples import SampleWriter, list_accounts
from tallypost_cli.demo.stage import Stage
from tallypost_cli.demo.story import Story
from tallypost_cli.demo.traffic import Traffic
from tallypost_cli.errors import StartUpError
from tallypost_cli.ports import find_free_port
from tallypost_cli.probes import http_probe
from tallypost_cli.programs import Program
from tallypost_cli.supervisor import Say
from tallypost_core.settings.groups import LogSettings
from tallypost_telemetry import logging, serving

FILE_NAME = "demo.env"

_NOTE = "Address and token of the demo's controller, as long as it runs."
_LOOPBACK = "127.0.0.1"
_WORKER, _SECOND_WORKER = "worker", "worker-2"
# So that what the demo puts off comes back while somebody looks.
_RETRY_SCHEDULE_S = "3,5,8,13,20,30,60,120,300,900,3600,14400,43200"
_POLL_S = 0.02


def run(folder: Path, environ: Mapping[str, str], say: Say) -> None:
    """Run the system with the demo beside it; as `up.run`, and raises what that raises.

    Raises StartUpError too where settings lead away from this machine.
    """
    refuse_elsewhere(environ)
    logging.configure(LogSettings(level="warning", format="console"), "demo")
    demonstration = Demonstration(folder)
    # Addresses of another demo would win over those of this one.
    own = demonstration.addresses()
    environ = {name: value for name, value in environ.items() if name not in own}
    up.run(folder, environ, say, companion=demonstration)


class Demonstration:
    """The companion of one system: traffic, story, and the controller with its address."""

    command = "demo"

    def __init__(self, folder: Path) -> None:
        """folder gets the file that names the controller."""
        self._file = folder / FILE_NAME
        self._token = secrets.token_urlsafe(24)
        self._port = find_free_port()
        self._mail_server_token = secrets.token_urlsafe(24)
        self._mail_server_port = find_free_port()
        self._parts = AsyncExitStack()

    @property
    def _url(self) -> str:
        return f"http://{_LOOPBACK}:{self._port}"

    def settings(self) -> dict[str, str]:
        """The addresses, and retries that one can watch."""
        return self.addresses() | {"TALLYPOST_DELIVERY_RETRY_SCHEDULE_S": _RETRY_SCHEDULE_S}

    def addresses(self) -> dict[str, str]:
        """Where the console finds the controller, and this the knobs of the mail server."""
        return {
            "TALLYPOST_CONSOLE_DEMO_URL": self._url,
            "TALLYPOST_CONSOLE_DEMO_TOKEN": self._token,
            "TALLYPOST_INBOX_CONTROL_PORT": str(self._mail_server_port),
            "TALLYPOST_INBOX_CONTROL_TOKEN": self._mail_server_token,
        }

    def refine(self, programs: list[Program]) -> list[Program]:
        """A second worker, so that one can be killed while mail goes on."""
        worker = next(program for program in programs if program.name == _WORKER)
        port = find_free_port()
        own = {"TALLYPOST_WORKER_HOST": _LOOPBACK, "TALLYPOST_WORKER_PORT": str(port)}
        second = structs.replace(
            worker,
            name=_SECOND_WORKER,
            environment=worker.environment | own,
            probe=http_probe(_LOOPBACK, port),
        )
        return [*programs, second]

    async def start(self, started: Started) -> list[str]:
        """Send, serve the controller, and let the story begin; the line says where the panel is."""
        journal = Journal()
        api = APIClient(started.ports["TALLYPOST_API_PORT"])
        self._parts.push_async_callback(api.close)
        mail_server = MailServer(self._mail_server_port, self._mail_server_token)
        self._parts.push_async_callback(mail_server.close)
        traffic = Traffic(api.send, SampleWriter(list_accounts(started.access)), journal)
        self._run_beside(asyncio.create_task(traffic.run(), name="demo traffic"))
        machinery = Machinery(started.supervisor, (_WORKER, _SECOND_WORKER), started.redis_url)
        stage = Stage(traffic, mail_server, machinery, journal)
        story = Story(stage)
        await self._serve(Panel(stage, story))
        self._parts.push_async_callback(story.close)
        await story.start()
        return [f"Demo: {started.console_url}/demo"]

    async def stop(self) -> None:
        """End story, controller and traffic, in this order, and forget the controller's file."""
        await self._parts.aclose()

    async def _serve(self, panel: Panel) -> None:
        app = controller(panel, self._token)
        server = asyncio.create_task(
            serving.serve(app, _LOOPBACK, self._port, asyncio.Event()), name="demo controller"
        )
        self._run_beside(server)
        while not await _answers(self._port):
            if server.done():
                raise StartUpError(f"The demo's controller ended: {server.exception()}")
            await asyncio.sleep(_POLL_S)
        folders.write_assignments(
            self._file, _NOTE, {"DEMO_URL": self._url, "DEMO_TOKEN": self._token}
        )
        self._parts.callback(self._file.unlink, missing_ok=True)

    def _run_beside(self, task: asyncio.Task[None]) -> None:
        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._parts.push_async_callback(end)


async def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        with socket.socket() as probe:
            probe.setblocking(False)
            await asyncio.get_running_loop().sock_connect(probe, (_LOOPBACK, port))
        return True
    return False
