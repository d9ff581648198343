"""Starts the small apps as processes and asks them over HTTP."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from msgspec import Struct

DEADLINE_S = 60


class Answer(Struct):
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.text)


class RunningApp:
    """A process `python -m tallypost_<app>` and its address."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url

    async def get(self, path: str, method: str = "GET") -> Answer:
        """Ask for a path."""
        async with (
            aiohttp.ClientSession() as client,
            client.request(method, f"{self.url}{path}") as answer,
        ):
            return Answer(answer.status, dict(answer.headers), await answer.text())

    async def wait_until_live(self) -> None:
        """Return once the app listens; its death or a long silence is an error."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                assert self.process.returncode is None, "the app ended"
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    if (await self.get("/health/live")).status == 200:
                        return
                await asyncio.sleep(0.02)

    async def wait_until_ready_is(self, status: int) -> Answer:
        """Return the first readiness answer with this status."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                answer = await self.get("/health/ready")
                if answer.status == status:
                    return answer
                await asyncio.sleep(0.05)

    async def end(self) -> tuple[int, str]:
        """Tell the app to stop; its exit status and all it logged."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            _, errors = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, errors.decode()


def find_free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def start(app: str, variables: Mapping[str, str]) -> Process:
    """Start an app with these TALLYPOST_ variables and no other."""
    environ = {name: value for name, value in os.environ.items() if "TALLYPOST_" not in name}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tallypost_{app}",
        env={**environ, **variables},
        stdout=PIPE,
        stderr=PIPE,
    )


@contextlib.asynccontextmanager
async def running(app: str, variables: Mapping[str, str]) -> AsyncIterator[RunningApp]:
    """An app that listens on a free port; killed at the end unless it was ended."""
    port = find_free_port()
    process = await start(app, {**variables, f"TALLYPOST_{app.upper()}_PORT": str(port)})
    try:
        started = RunningApp(process, f"http://127.0.0.1:{port}")
        await started.wait_until_live()
        yield started
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
