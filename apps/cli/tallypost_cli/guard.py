"""Stops the children of a supervisor that was killed before it could stop them itself.

The guard is a small process of its own that holds the read end of a pipe. Only the supervisor
holds the write end, so the end of file tells of its death on Linux and macOS alike. Over the
pipe come the pids of the children, each the leader of its process group. The guard ends apps
first, then databases, and is done within 8 s.

This file is also the guard's program. It is started by path, with nothing but the standard
library, to stay small (about 10 MB) and to work when the environment is being replaced.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Literal

Role = Literal["app", "database"]

_APP_GRACE_S = 3.0
_DATABASE_GRACE_S = 3.0
_IMMEDIATE_GRACE_S = 1.0
_POLL_S = 0.05


class Guard:
    """The supervisor's side: starts the guard and tells it which processes to stop."""

    def __init__(self, lock_fd: int | None = None) -> None:
        """lock_fd is held by the guard as well, so that a lock outlives the supervisor."""
        read_fd, self._write_fd = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__],
                stdin=read_fd,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # A signal to the supervisor's group or session must not reach the guard.
                start_new_session=True,
                pass_fds=() if lock_fd is None else (lock_fd,),
                cwd="/",
            )
        finally:
            os.close(read_fd)

    @property
    def pid(self) -> int:
        """Process id of the guard itself."""
        return self._process.pid

    def is_alive(self) -> bool:
        """False once the guard has ended; make a new one and tell it of all children."""
        return self._process.poll() is None

    def watch(self, pid: int, role: Role) -> None:
        """Stop this process group if the supervisor dies."""
        self._tell(f"+ {pid} {role}")

    def enrolment(self, role: Role) -> Callable[[], None]:
        """A preexec_fn by which a child enrols itself.

        The child is known to the guard before it runs its program, so a supervisor that is
        killed right after the fork leaves nobody behind. Only for single-threaded parents.
        """
        write_fd = self._write_fd

        def enrol() -> None:
            os.write(write_fd, f"+ {os.getpid()} {role}\n".encode())

        return enrol

    def forget(self, pid: int) -> None:
        """The process has ended; its pid may be given to somebody else."""
        self._tell(f"- {pid}")

    def dismiss(self) -> None:
        """End the guard without stopping anybody; returns when it is gone."""
        self._tell("dismiss")
        os.close(self._write_fd)
        self._process.wait()

    def _tell(self, line: str) -> None:
        # A guard that has died is replaced by the supervisor's next look at `is_alive`.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._write_fd, f"{line}\n".encode())


def keep_guard(lines: Iterable[str]) -> None:
    """Follow the supervisor's messages until it dismisses us or dies; then stop its children."""
    watched: dict[int, Role] = {}
    for line in lines:
        match line.split():
            case ["+", pid, "app"]:
                watched[int(pid)] = "app"
            case ["+", pid, "database"]:
                watched[int(pid)] = "database"
            case ["-", pid]:
                watched.pop(int(pid), None)
            case ["dismiss"]:
                return
    apps = [pid for pid, role in watched.items() if role == "app"]
    databases = [pid for pid, role in watched.items() if role == "database"]
    _stop_groups(apps, signal.SIGTERM, _APP_GRACE_S)
    # For PostgreSQL SIGINT is a fast stop and SIGQUIT an immediate one that takes its backends
    # along, which are not in its process group. Redis saves and ends on SIGINT.
    if _stop_groups(databases, signal.SIGINT, _DATABASE_GRACE_S, is_last=False):
        _stop_groups(databases, signal.SIGQUIT, _IMMEDIATE_GRACE_S)


def _stop_groups(
    pids: list[int], polite: signal.Signals, grace_s: float, *, is_last: bool = True
) -> list[int]:
    """Signal the groups and wait for their leaders; returns those that remain.

    If this was the last word, whatever is left of any of the groups is killed.
    """
    for pid in pids:
        _signal_group(pid, polite)
    deadline = time.monotonic() + grace_s
    left = pids
    while (left := [pid for pid in left if _runs(pid)]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if is_last:
        for pid in pids:
            _signal_group(pid, signal.SIGKILL)
    return left


def _runs(pid: int) -> bool:
    """True while a process runs; orphans that nobody collects are zombies and do not count."""
    try:
        os.kill(pid, 0)
        text = pathlib.Path("/proc", str(pid), "stat").read_text(errors="replace")
    except ProcessLookupError:
        return False
    except OSError:
        # There is no /proc: macOS, whose first process collects orphans at once.
        return not pathlib.Path("/proc/self").exists()
    return not text.rpartition(")")[2].strip().startswith("Z")


def _signal_group(pid: int, number: signal.Signals) -> None:
    # macOS answers EPERM for a group whose members are all zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep_guard(sys.stdin)


if __name__ == "__main__":
    _main()
