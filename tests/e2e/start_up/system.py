"""Starts the whole system, mostly with fake apps, and looks at what runs of it."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tallypost_cli import local_secrets, local_state, programs
from tallypost_cli.embedded.accounts import Account
from tallypost_cli.embedded.postgres import EmbeddedPostgres
from tallypost_cli.embedded.processes import is_running
from tallypost_cli.embedded.redis import EmbeddedRedis
from tallypost_cli.environment import login_roles
from tallypost_cli.ports import is_free

_FAKES = (str(Path(__file__).with_name("run_up.py")),)
_REAL = ("-P", "-m", "tallypost_cli")
_DEADLINE_S = 60.0
_POLL_S = 0.02


class RunningSystem:
    """One `up` or `demo`, its output so far and its processes."""

    def __init__(
        self,
        folder: Path,
        port_base: int,
        environ: Mapping[str, str],
        *,
        has_real_apps: bool,
        command: str,
    ) -> None:
        self.folder = folder
        self.port_base = port_base
        self.lines: list[str] = []
        own = {name: value for name, value in os.environ.items() if "TALLYPOST" not in name}
        self.process = subprocess.Popen(
            [
                sys.executable,
                *((*_REAL, command, "--data-folder") if has_real_apps else _FAKES),
                str(folder),
            ],
            env=own | {"TALLYPOST_PORT_BASE": str(port_base), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id of the supervisor, which is also its process group."""
        return self.process.pid

    @property
    def output(self) -> str:
        """All that was printed so far."""
        return "\n".join(self.lines)

    def wait_for(self, text: str) -> str:
        """The first line that contains the text, once it is there."""
        wait_until(
            lambda: any(text in line for line in self.lines) or self.process.poll() is not None,
            f"a line with {text!r} in:\n{self.output}",
        )
        found = [line for line in self.lines if text in line]
        assert found, f"it ended without {text!r}:\n{self.output}"
        return found[0]

    def wait_for_end(self) -> int:
        """The supervisor's exit status, once it has ended."""
        status = self.process.wait(_DEADLINE_S)
        self._reader.join(_DEADLINE_S)
        return status

    def children(self) -> set[int]:
        """Process ids of all that descends from the supervisor now."""
        return descendants(self.pid)

    def notes(self, app: str) -> list[str]:
        """What the fake app wrote down."""
        path = self.folder.parent / "notes" / app
        return path.read_text().splitlines() if path.exists() else []

    def pid_of(self, app: str) -> int:
        """Process id of a fake app that has started."""
        return int(next(note for note in reversed(self.notes(app)) if "start" in note).split()[1])

    def postgres_pid(self) -> int:
        """Process id of the embedded PostgreSQL."""
        return int((self.folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))


@contextmanager
def run_system(
    folder: Path,
    port_base: int | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    has_real_apps: bool = False,
    command: str = "up",
) -> Iterator[RunningSystem]:
    """Start `up`, or another command of real apps, on a data folder.

    Whatever still runs of it is ended at the end.
    """
    system = RunningSystem(
        folder,
        port_base or free_port_base(),
        environ or {},
        has_real_apps=has_real_apps,
        command=command,
    )
    try:
        yield system
    finally:
        left = system.children()
        if system.process.poll() is None:
            system.process.terminate()
        system.wait_for_end()
        wait_until(lambda: not any(map(is_running, left)), f"the end of {left}")


def superuser_url(folder: Path) -> str:
    """Address of a data folder's PostgreSQL with the login that sees every row."""
    secrets = local_secrets.load_or_make(folder, login_roles())
    port = local_state.load(folder).postgres_port
    assert port is not None
    return EmbeddedPostgres(
        folder / "postgres", secrets.superuser_password, secrets.owner_password, Account()
    ).superuser_url(port)


def redis_url(folder: Path) -> str:
    """Address of a data folder's Redis."""
    secrets = local_secrets.load_or_make(folder, login_roles())
    port = local_state.load(folder).redis_port
    assert port is not None
    return EmbeddedRedis(folder / "redis", secrets.redis_password).url(port)


def free_port_base() -> int:
    """A value for TALLYPOST_PORT_BASE with which every port is free now."""
    chooser = random.SystemRandom()
    return next(
        base
        for base in iter(lambda: chooser.randrange(10_000, 20_000), None)
        if all(is_free(port) for port in programs.default_ports(base).values())
    )


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = _DEADLINE_S) -> None:
    """Return once the condition holds; fails, saying what was waited for, after the deadline."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {deadline_s:g} s for {what}"
        time.sleep(_POLL_S)


def descendants(pid: int) -> set[int]:
    """Process ids of the children of a process, their children, and so on; zombies left out."""
    table = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split() for line in table.splitlines()]
    parents = {int(row[0]): int(row[1]) for row in rows if not row[2].startswith("Z")}
    found: set[int] = set()
    wave = {pid}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave}
        found |= wave
    return found


def kill(pid: int) -> None:
    """End one process as a crash would."""
    os.kill(pid, signal.SIGKILL)
