"""Serves a simulator of an HTTP API on loopback, and carries out its faults on the wire."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self

from aiohttp import web

from tallypost_simulators.http_faults import HTTPFault, HTTPFaults

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 64 * 1024 * 1024

# Linger for no time: closing resets the connection in place of ending it in order.
_RESET = struct.pack("ii", 1, 0)
_GARBAGE = b"HELO this is no HTTP\r\n\r\n"


class HTTPServer:
    """A simulator's server; `async with` runs it, and `url` is where."""

    def __init__(
        self,
        routes: Iterable[web.RouteDef],
        *,
        faults: HTTPFaults,
        is_faulty: Callable[[web.Request], bool],
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """is_faulty says which requests the faults are for; port 0 takes a free one."""
        self.faults = faults
        self._is_faulty = is_faulty
        self._host = host
        self._wanted_port = port
        self._app = web.Application(middlewares=[self._misbehave], client_max_size=MAX_BODY_BYTES)
        self._app.add_routes(routes)
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that the server listens on; it must be running."""
        if self._runner is None:
            raise RuntimeError("the server is not running")
        port: int = self._runner.addresses[0][1]
        return port

    @property
    def url(self) -> str:
        """Its address, without a path; it must be running."""
        return f"http://{self._host}:{self.port}"

    async def start(self) -> None:
        """Listen; raises OSError where the port is taken."""
        self._runner = web.AppRunner(
            self._app, access_log=None, handle_signals=False, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._wanted_port, backlog=1024).start()

    async def stop(self) -> None:
        """Hang up on everybody."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self.faults.replace()
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.faults.is_quiet or not self._is_faulty(request):
            return await handler(request)
        fault, replaced = self.faults.take(), self.faults.replaced
        if self.faults.latency_s:
            await request.read()
            await asyncio.sleep(self.faults.latency_s)
        if fault is None:
            return await handler(request)
        if fault.action == "reset_before":
            return reset_connection(request)
        await request.read()
        if fault.action == "reset_after":
            return reset_connection(request)
        if fault.action == "answer":
            return web.Response(status=fault.status, headers=fault.headers, body=fault.body)
        response = await handler(request)
        if fault.action == "hang":
            await replaced.wait()
            return response
        return await _spoil(request, response, fault)


async def _spoil(
    request: web.Request, response: web.StreamResponse, fault: HTTPFault
) -> web.StreamResponse:
    """What was asked for is done; the answer arrives badly or not at all."""
    transport = request.transport
    if fault.action == "drop" or transport is None:
        return reset_connection(request)
    answer = _serialise(response)
    if fault.action == "garbage":
        transport.write(_GARBAGE)
    elif fault.action == "cut":
        transport.write(answer[: len(answer) // 2])
    else:
        for byte in answer:
            transport.write(bytes([byte]))
            await asyncio.sleep(fault.drip_s)
    transport.close()
    return response


def _serialise(response: web.StreamResponse) -> bytes:
    body = response.body if isinstance(response, web.Response) else b""
    sent = body if isinstance(body, bytes) else b""
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [
        f"{name}: {value}"
        for name, value in response.headers.items()
        if name.lower() not in {"content-length", "connection"}
    ]
    lines += [f"Content-Length: {len(sent)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + sent


def reset_connection(request: web.Request) -> web.Response:
    """End the connection by a reset; the answer goes nowhere."""
    transport = request.transport
    if transport is not None:
        # By a copy of its number, because not every event loop's transport lends its socket.
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
    return web.Response()
