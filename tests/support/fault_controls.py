"""A simulator's control, served on loopback, and its client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tallypost_cli.ports import find_free_port
from tallypost_simulators.fault_control import FaultBoard, KnobsT, fault_control
from tallypost_simulators.fault_list import FaultT
from tallypost_telemetry import serving

TOKEN = "token"
_IN_TIME_S = 10.0


class Control:
    """Turns the knobs over HTTP."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/faults"

    async def turn(self, **knobs: object) -> None:
        """Set all knobs."""
        status, _ = await self.ask("PUT", knobs)
        assert status == 200

    async def ask(
        self, method: str, knobs: object = None, token: str = TOKEN
    ) -> tuple[int, dict[str, object]]:
        """Status and body of one request."""
        headers = {"authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.request(method, self._url, json=knobs) as answer,
        ):
            return answer.status, await answer.json()


@asynccontextmanager
async def serve_control(board: FaultBoard[KnobsT, FaultT]) -> AsyncIterator[Control]:
    """Serve a board's control until the end of the block."""
    stop, port = asyncio.Event(), find_free_port()
    app = fault_control(board, TOKEN)
    server = asyncio.create_task(serving.serve(app, "127.0.0.1", port, stop))
    control = Control(port)
    try:
        await _wait_for(control)
        yield control
    finally:
        stop.set()
        await server


async def _wait_for(control: Control) -> None:
    async with asyncio.timeout(_IN_TIME_S):
        while True:
            try:
                await control.ask("GET")
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.01)
            else:
                return
