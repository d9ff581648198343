"""Servers that speak HTTP as badly as a test wants: each answers by its script, byte by byte."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

Script: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]

_LENGTH = re.compile(r"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Peer:
    """A server on loopback; it knows the requests and connections that it got."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[str] = []
        """The head of each."""
        self.bodies: list[bytes] = []
        self.connections = 0
        self.hang_ups = 0
        """Connections that the other side closed."""

    def url(self, host: str = "127.0.0.1", path: str = "/", scheme: str = "http") -> str:
        """An address of this server under some host."""
        return f"{scheme}://{host}:{self.port}{path}"


def answer(
    body: bytes = b"hello", *, status: str = "200 OK", headers: tuple[str, ...] = ()
) -> Script:
    """A whole answer with its length; the connection stays open."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + body)

    return script


def raw(*pieces: bytes, then_hang: bool = False) -> Script:
    """These bytes and then the end, or silence."""

    async def script(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then_hang:
            await asyncio.Event().wait()
        writer.close()

    return script


@asynccontextmanager
async def peer(
    script: Script, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """A running server; raises OSError where it cannot listen there."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        it.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                it.requests.append(head)
                length = _LENGTH.search(head)
                it.bodies.append(await reader.readexactly(int(length[1])) if length else b"")
                await script(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            it.hang_ups += 1
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    it = Peer(server.sockets[0].getsockname()[1])
    try:
        yield it
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
