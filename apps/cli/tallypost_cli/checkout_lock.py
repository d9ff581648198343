"""One supervisor per data folder: a second one is told who is there."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tallypost_cli.embedded.processes import is_running
from tallypost_cli.errors import StartUpError

_FILE_NAME = "up.lock"
# The guard of a supervisor that was killed holds the lock while it stops the children, 8 s.
_WAIT_FOR_GUARD_S = 12.0
_POLL_S = 0.1


@contextmanager
def hold(folder: Path) -> Iterator[int]:
    """Hold the folder's lock; yields its descriptor, which a guard may hold on to as well.

    Waits for the guard of a supervisor that was killed. Raises StartUpError where a supervisor
    runs.
    """
    with (folder / _FILE_NAME).open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + _WAIT_FOR_GUARD_S
        while not _try_lock(file.fileno()):
            pid = running_supervisor(folder)
            if pid is not None or time.monotonic() > deadline:
                raise StartUpError(
                    f"Tallypost already runs on {folder}"
                    + (f" (pid {pid}). Stop it with Ctrl-C there, or: kill {pid}" if pid else ".")
                )
            time.sleep(_POLL_S)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


def running_supervisor(folder: Path) -> int | None:
    """The pid of the supervisor that runs on the folder; None where there is none."""
    try:
        with (folder / _FILE_NAME).open(encoding="utf-8") as file:
            if _try_lock(file.fileno()):
                return None
            text = file.read()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() and is_running(int(text)) else None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
