"""Names the process that listens on a port: from /proc on Linux, else through `lsof`."""

import shutil
import subprocess
from pathlib import Path

from tallypost_cli.embedded.processes import command_line

UNKNOWN = "an unknown process (perhaps of another user)"

_LISTEN = "0A"  # As in /proc/net/tcp; see proc_pid_net(5).
_LSOF_TIMEOUT_S = 10


def describe_owner(port: int) -> str:
    """Who listens on the port, as `pid 123 (command line)`; UNKNOWN where it cannot be told."""
    pid = _find_in_proc(port) or _ask_lsof(port)
    if pid is None:
        return UNKNOWN
    command = command_line(pid)
    return f"pid {pid} ({command})" if command else f"pid {pid}"


def listening_inodes(table: str, port: int) -> set[str]:
    """The socket inodes that listen on a port, from the text of /proc/net/tcp or tcp6."""
    inodes = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            local_port = int(fields[1].rpartition(":")[2], 16)
            if local_port == port:
                inodes.add(fields[9])
    return inodes


def _find_in_proc(port: int) -> int | None:
    inodes: set[str] = set()
    for name in ("tcp", "tcp6"):
        table = Path("/proc/net", name)
        if table.exists():
            inodes |= listening_inodes(table.read_text(encoding="ascii"), port)
    links = {f"socket:[{inode}]" for inode in inodes}
    if not links:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(
                str(descriptor.readlink()) in links for descriptor in (process / "fd").iterdir()
            ):
                return int(process.name)
        except OSError:
            # It ended meanwhile, or belongs to another user.
            continue
    return None


def _ask_lsof(port: int) -> int | None:
    if not shutil.which("lsof"):
        return None
    try:
        finished = subprocess.run(
            ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fp"],
            capture_output=True,
            text=True,
            timeout=_LSOF_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    pids = [line[1:] for line in finished.stdout.splitlines() if line.startswith("p")]
    return int(pids[0]) if pids and pids[0].isdigit() else None
