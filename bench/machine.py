"""What the measurements were taken on."""

import asyncio
import os
import platform
import random
import statistics
import time
from pathlib import Path

import asyncpg

from bench.servers import SETTINGS_SHOWN

_WRITE_BYTES = 8192
_SYNCING_S = 0.5
_MOST_SYNCS = 2000
# With 36 bytes each, numbers and the list of them fill 18 MB: more than a core's own cache, and
# about what a worker or an API process goes through again and again.
_NUMBERS = 1 << 19
_WALKS = 3


class Steal:
    """How much processor time other guests of the host took since this was made."""

    def __init__(self) -> None:
        self._before = _ticks()

    def percent(self) -> float | None:
        """In percent of all time; None where the system does not tell."""
        after = _ticks()
        if self._before is None or after is None:
            return None
        total = after[0] - self._before[0]
        return 100 * (after[1] - self._before[1]) / total if total else 0.0


class Memory:
    """How long memory takes to answer.

    Other guests of the host use the same cache, and the system tells of nothing when they do. A
    program in Python waits for memory far more than one in C, so ratios between the two follow it.
    """

    def __init__(self) -> None:
        self._numbers = [*range(10**9, 10**9 + _NUMBERS)]
        random.Random(0).shuffle(self._numbers)  # noqa: S311 - any order will do.
        self._steps_ns: list[float] = []

    def walk(self) -> float:
        """Mean time to reach a number in no order, in nanoseconds; the best of a few walks."""
        walks_s = []
        for _ in range(_WALKS):
            started_s = time.perf_counter()
            sum(self._numbers)
            walks_s.append(time.perf_counter() - started_s)
        self._steps_ns.append(min(walks_s) / _NUMBERS * 1e9)
        return self._steps_ns[-1]

    def describe(self) -> str:
        """All walks so far: median and range."""
        median = statistics.median(self._steps_ns)
        least, most = min(self._steps_ns), max(self._steps_ns)
        return f"memory: {median:.1f}ns [{least:.1f} to {most:.1f}, n={len(self._steps_ns)}]"


def describe(postgres_url: str, folder: Path) -> str:
    """Cores, memory, versions, the server's settings, and how long the disk takes to sync."""
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    version, settings = asyncio.run(_postgres(postgres_url))
    return (
        f"machine: cores={os.cpu_count()} memory={memory_gb:.0f}GB "
        f"fdatasync={sync_us(folder):.0f}us load={os.getloadavg()[0]:.2f} "
        f"python={platform.python_version()} system={platform.system()}-{platform.machine()} "
        f"postgres={version} {settings}"
    )


def sync_us(folder: Path) -> float:
    """Mean time of one 8 kB write with fdatasync, in microseconds, where the database's data is."""
    path = folder / "sync"
    data = b"x" * _WRITE_BYTES
    # macOS has fsync only.
    sync = getattr(os, "fdatasync", os.fsync)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        count = 0
        started_s = now_s = time.perf_counter()
        while now_s - started_s < _SYNCING_S and count < _MOST_SYNCS:
            os.pwrite(handle, data, 0)
            sync(handle)
            count += 1
            now_s = time.perf_counter()
        return (now_s - started_s) / count * 1e6
    finally:
        os.close(handle)
        path.unlink()


async def _postgres(url: str) -> tuple[str, str]:
    connection = await asyncpg.connect(url)
    try:
        version = str(await connection.fetchval("SHOW server_version"))
        settings = [
            f"{name}={await connection.fetchval(f'SHOW {name}')}" for name in SETTINGS_SHOWN
        ]
    finally:
        await connection.close()
    return version.partition(" ")[0], " ".join(settings)


def _ticks() -> tuple[int, int] | None:
    """All processor time and the stolen part of it (proc_stat(5)); None without /proc."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    except OSError:
        return None
    ticks = [int(word) for word in first[1:]]
    # The time of guests is in the user time already.
    return sum(ticks[:8]), ticks[7]
