"""`tallypost up`: the whole system on one machine, from databases to the printed login.

The order is: take the data folder's lock, see that the ports are free, start the databases,
migrate, start the apps side by side while the sample data is laid, print, and keep all of it
running until told to stop. Apps stop before databases.
"""

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tallypost_cli import (
    banner,
    checkout_lock,
    folders,
    local_secrets,
    port_owners,
    programs,
    sample_data,
)
from tallypost_cli.child_logs import ChildLogs
from tallypost_cli.companions import Alone, Companion, Started
from tallypost_cli.databases import LocalDatabases
from tallypost_cli.environment import local_defaults, login_roles
from tallypost_cli.errors import StartUpError
from tallypost_cli.ports import is_free
from tallypost_cli.sample_access import SampleAccess
from tallypost_cli.supervisor import Say, Supervisor
from tallypost_core.settings import apps

# Long enough for a slow machine to compile every module on its first run.
_READY_DEADLINE_S = 180.0
_LAST_PORT = 65_535
_OTHER_BASES = range(9000, 60_000, 1000)


def run(
    folder: Path,
    environ: Mapping[str, str],
    say: Say,
    descriptions: Sequence[programs.AppDescription] = programs.APPS,
    companion: Companion | None = None,
) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP; returns once all of it has stopped.

    folder keeps the data; descriptions are of the apps to run; companion runs beside them.
    Raises SettingsError for mistakes in environ, StartUpError for what keeps the system from
    starting.
    """
    started_s = time.monotonic()
    settings = apps.load(apps.CLISettings, environ)
    companion = companion or Alone()
    folders.make_private_folder(folder)
    with checkout_lock.hold(folder) as lock_fd:
        ports = choose_ports(settings.port_base, environ)
        refuse_busy_ports(ports, companion.command)
        installation = _Installation(folder, settings, environ, ports, descriptions, companion, say)
        asyncio.run(installation.run(started_s, lock_fd))


def choose_ports(port_base: int, environ: Mapping[str, str]) -> dict[str, int]:
    """The port of each app, by its variable: what environ says, else what the base makes of it.

    Raises StartUpError for a port that does not exist.
    """
    ports = programs.default_ports(port_base)
    ports |= {name: int(environ[name]) for name in ports if environ.get(name)}
    for name, port in ports.items():
        if not 0 < port <= _LAST_PORT:
            raise StartUpError(f"{name} would be {port}; choose another TALLYPOST_PORT_BASE.")
    return ports


def refuse_busy_ports(ports: Mapping[str, int], command: str = "up") -> None:
    """Raise StartUpError, naming port and owner, where an app's port is taken.

    command is the target of `make` that would start the apps elsewhere.
    """
    busy = {name: port for name, port in ports.items() if not is_free(port)}
    if not busy:
        return
    lines = [
        f"Port {port} ({_app_of(name)}) is taken by {port_owners.describe_owner(port)}."
        for name, port in busy.items()
    ]
    base = next(base for base in _OTHER_BASES if _is_free_base(base))
    lines.append(f"Stop that, or move all ports: TALLYPOST_PORT_BASE={base} make {command}")
    raise StartUpError("\n".join(lines))


class _Installation:
    """One run of the system on a data folder."""

    def __init__(
        self,
        folder: Path,
        settings: apps.CLISettings,
        environ: Mapping[str, str],
        ports: Mapping[str, int],
        descriptions: Sequence[programs.AppDescription],
        companion: Companion,
        say: Say,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._environ = environ
        self._ports = ports
        self._descriptions = descriptions
        self._companion = companion
        self._say = say

    async def run(self, started_s: float, lock_fd: int) -> None:
        """Bring everything up, keep it up until a signal, and take it down."""
        supervisor = Supervisor(ChildLogs(self._folder / "logs"), self._say, lock_fd)
        stop_requested = _stop_on_signals(supervisor)
        async with AsyncExitStack() as stack:
            # Undone from the last to the first, whatever one of them raises.
            stack.push_async_callback(supervisor.close)
            stack.push_async_callback(supervisor.stop, "database")
            stack.push_async_callback(supervisor.stop, "app")
            stack.callback(self._say, "Stopping")
            stack.push_async_callback(self._companion.stop)
            await self._run_until(stop_requested, supervisor, started_s)

    async def _run_until(
        self, stop_requested: asyncio.Event, supervisor: Supervisor, started_s: float
    ) -> None:
        bring_up = asyncio.create_task(self._bring_up(supervisor, started_s))
        stop = asyncio.create_task(stop_requested.wait())
        try:
            await asyncio.wait({bring_up, stop}, return_when=asyncio.FIRST_COMPLETED)
            if bring_up.done():
                await bring_up
                await stop
        finally:
            for task in (bring_up, stop):
                task.cancel()
            await asyncio.gather(bring_up, stop, return_exceptions=True)

    async def _bring_up(self, supervisor: Supervisor, started_s: float) -> None:
        secrets = local_secrets.load_or_make(self._folder, login_roles())
        databases = LocalDatabases(self._folder, self._settings, secrets, self._say)
        await databases.start(supervisor)
        defaults = self._companion.settings() | local_defaults(
            self._folder,
            secrets,
            databases.owner_url,
            databases.redis_url,
            self._ports,
            self._environ,
        )
        was_migrated = await databases.migrate(supervisor, defaults, self._environ)
        access = await self._start_apps(supervisor, defaults, is_stale=was_migrated)
        console_url = (
            self._environ.get("TALLYPOST_CONSOLE_URL") or defaults["TALLYPOST_CONSOLE_URL"]
        )
        redis_url = databases.redis_url if self._settings.redis.url is None else None
        started = Started(supervisor, access, self._ports, console_url, redis_url)
        lines = await self._companion.start(started)
        for line in [*banner.lines(access, self._ports, console_url), *lines]:
            self._say(line)
        self._say(f"Ready in {max(1, round(time.monotonic() - started_s))} s")

    async def _start_apps(
        self, supervisor: Supervisor, defaults: Mapping[str, str], *, is_stale: bool
    ) -> SampleAccess:
        """Start the apps, and lay the sample data beside; returns once both is done."""
        apps_to_start = self._companion.refine(
            programs.app_programs(self._descriptions, defaults, self._environ, self._folder)
        )
        self._say("Starting " + ", ".join(program.name for program in apps_to_start))
        starting = asyncio.create_task(supervisor.start(apps_to_start, _READY_DEADLINE_S))
        try:
            access = await sample_data.ensure(
                supervisor,
                self._folder,
                defaults,
                self._environ,
                is_stale=is_stale,
                say=self._say,
            )
            await starting
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        return access


def _stop_on_signals(supervisor: Supervisor) -> asyncio.Event:
    """An event that SIGINT, SIGTERM or SIGHUP sets; the second one kills apps that linger."""
    requested = asyncio.Event()

    def on_signal() -> None:
        if requested.is_set():
            supervisor.hurry()
        requested.set()

    loop = asyncio.get_running_loop()
    # Also where a shell started us in the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    return requested


def _app_of(port_variable: str) -> str:
    return next(app.name for app in programs.APPS if app.port_variable == port_variable)


def _is_free_base(port_base: int) -> bool:
    return all(is_free(port) for port in programs.default_ports(port_base).values())
