"""Finds processes that a run started and that still run after it."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_GONE_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.2
# Of `multiprocessing`, and ends with this process.
_TRACKER = "multiprocessing.resource_tracker"


def find_leftovers(folders: Sequence[str]) -> list[str]:
    """What still runs after ten seconds, each as its pid and command.

    A child of this process counts, and whoever works in one of the folders: helpers of a server
    that outlive it are nobody's children.
    """
    deadline_s = time.monotonic() + _GONE_WITHIN_S
    while (left := _find_running(folders)) and time.monotonic() < deadline_s:
        time.sleep(_LOOK_EVERY_S)
    return left


def _find_running(folders: Sequence[str]) -> list[str]:
    with subprocess.Popen(
        ["ps", "-A", "-o", "pid=,ppid=,stat=,command="], stdout=subprocess.PIPE, text=True
    ) as ps:
        listing, _ = ps.communicate()
    processes = [line.split(None, 3) for line in listing.splitlines()]
    found = []
    for pid, parent, state, command in (it for it in processes if len(it) == 4):
        is_ours = int(parent) == os.getpid() and int(pid) != ps.pid
        if state.startswith("Z") or _TRACKER in command:
            continue
        if is_ours or _works_in(int(pid), folders):
            found.append(f"{pid} {command}")
    return found


def _works_in(pid: int, folders: Sequence[str]) -> bool:
    try:
        # Of a folder that is gone the name stays. Where there is no /proc, children must do.
        return str(Path("/proc", str(pid), "cwd").readlink()).startswith(tuple(folders))
    except OSError:
        return False
