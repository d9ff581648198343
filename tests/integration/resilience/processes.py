"""Runs modules of this folder as processes of their own, and reads what they report."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

DEADLINE_S = 120


@asynccontextmanager
async def run_processes(module: str, count: int, *arguments: str) -> AsyncIterator[list[Process]]:
    """count processes of one module; none outlives the block."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"{__package__}.{module}", *arguments, stdin=PIPE, stdout=PIPE
        )
        for _ in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def read_report(process: Process) -> Any:
    """The next line of a process, read as JSON; its end is an error."""
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        line = await process.stdout.readline()
    assert line, f"the process ended with {process.returncode}"
    return json.loads(line)


async def start_together(processes: list[Process]) -> None:
    """Wait until each process is ready, then let all go at once."""
    for process in processes:
        assert await read_report(process) == "ready"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
