"""Asks the operating system about processes, on Linux and macOS alike."""

import subprocess
from pathlib import Path

_PS_TIMEOUT_S = 5


def is_running(pid: int) -> bool:
    """True while a process with this pid runs, whoever owns it.

    One that has ended and only waits to be noticed by its parent does not run.
    """
    try:
        # The state follows the name in parentheses, which may itself hold some: proc_pid_stat(5).
        text = Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace")
        state = text.rpartition(")")[2].strip()
    except OSError:
        # macOS has no /proc; on Linux there is no such process, and `ps` says so too.
        state = _ask_ps(pid, "stat=")
    return bool(state) and not state.startswith("Z")


def command_line(pid: int) -> str:
    """The command line of a process, joined by blanks; empty where it cannot be told."""
    try:
        content = Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return _ask_ps(pid, "command=")
    return content.replace(b"\0", b" ").decode(errors="replace").strip()


def _ask_ps(pid: int, field: str) -> str:
    try:
        finished = subprocess.run(
            ["ps", "-o", field, "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=_PS_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout.strip()
