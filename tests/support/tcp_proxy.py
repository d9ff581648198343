"""A wire to a server that a test may freeze, slow down or cut.

It runs in the loop of whoever starts it. Bytes are passed on as they come; what happens on one
direction of a connection does not touch the other.
"""

import asyncio
import socket
import struct
from collections import deque
from types import TracebackType
from typing import Literal, Self, cast
from urllib.parse import urlsplit, urlunsplit

Direction = Literal["requests", "answers"]
"""From the client to the server, and back."""

BOTH: tuple[Direction, ...] = ("requests", "answers")

_HOST = "127.0.0.1"
# What one direction holds back before the sender has to wait, as a network's buffers would.
_HELD_BYTES = 256 * 1024
_DRIP_EVERY_S = 0.02
# l_onoff, l_linger: an abort resets the connection where it would otherwise end in order.
_RESET = struct.pack("ii", 1, 0)


class TCPProxy:
    """Passes connections on to a server; `port` is where, and each method acts on all of them.

    What is paused, slowed or dripped holds for new connections too.
    """

    def __init__(self, target_port: int, *, target_host: str = _HOST) -> None:
        self._target = (target_host, target_port)
        self._ways: dict[Direction, _Way] = {"requests": _Way(), "answers": _Way()}
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        # Keeps the port for this proxy while nobody listens on it.
        self._reserved: socket.socket | None = None
        self.is_cut = False
        self.refused = 0
        """Connections that were turned away while the wire was cut."""

    @property
    def port(self) -> int:
        """The port to connect to; the proxy must be running."""
        if self._server is None:
            raise RuntimeError("the proxy is not running")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    def url(self, url: str) -> str:
        """An address of the server, by way of this proxy."""
        return with_port(url, self.port)

    def pause(self, *directions: Direction) -> None:
        """Let nothing pass any more, the end of a connection included; nobody is told.

        Both directions unless named. Connections can be made, and get no answer.
        """
        for direction in directions or BOTH:
            self._ways[direction].is_paused = True

    def resume(self, *directions: Direction) -> None:
        """Let pass what was held back, and go on."""
        for direction in directions or BOTH:
            self._ways[direction].is_paused = False
        self._pump_all()

    def delay(self, latency_s: float, *directions: Direction) -> None:
        """Pass everything on so much later; 0 for at once."""
        for direction in directions or BOTH:
            self._ways[direction].latency_s = latency_s
        self._pump_all()

    def drip(self, bytes_per_s: float | None, *directions: Direction) -> None:
        """Pass on so many bytes a second of each connection; None for all there are."""
        for direction in directions or BOTH:
            self._ways[direction].bytes_per_s = bytes_per_s
        self._pump_all()

    def cut(self) -> None:
        """Reset every connection, and every one that is made from now on."""
        self.is_cut = True
        for connection in [*self._connections]:
            connection.reset()

    def mend(self) -> None:
        """End whatever was wrong with the wire."""
        self.is_cut = False
        for way in self._ways.values():
            way.is_paused, way.latency_s, way.bytes_per_s = False, 0.0, None
        self._pump_all()

    async def refuse(self) -> None:
        """Reset every connection and refuse every other, as a machine without this server does."""
        port = self.port
        await self._stop_listening()
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind((_HOST, port))

    async def accept(self) -> None:
        """Take connections again, on the same port; after `refuse`."""
        reserved, self._reserved = self._reserved, None
        if reserved is None:
            raise RuntimeError("the proxy refuses nobody")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=reserved)

    async def start(self) -> None:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, _HOST, 0)

    async def stop(self) -> None:
        """Reset every connection and stop listening."""
        if self._reserved is not None:
            self._reserved.close()
        self.is_cut = True
        await self._stop_listening()

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

    async def _stop_listening(self) -> None:
        for connection in [*self._connections]:
            connection.reset()
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    def _accept(self) -> "_End":
        connection = _Connection(self._ways, self._target, self._connections)
        if self.is_cut:
            self.refused += 1
            connection.is_refused = True
        return connection.client

    def _pump_all(self) -> None:
        for connection in [*self._connections]:
            connection.pump()


def with_port(url: str, port: int) -> str:
    """The same address and login, at a port of this machine."""
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}{at}{_HOST}:{port}"))


class _Way:
    """What holds for one direction of all connections."""

    def __init__(self) -> None:
        self.is_paused = False
        self.latency_s = 0.0
        self.bytes_per_s: float | None = None

    @property
    def is_open(self) -> bool:
        """True where bytes are passed on at once."""
        return not self.is_paused and not self.latency_s and self.bytes_per_s is None


class _Connection:
    """A client, the server, and a flow in each direction."""

    def __init__(
        self,
        ways: "dict[Direction, _Way]",
        target: tuple[str, int],
        connections: "set[_Connection]",
    ) -> None:
        self._target = target
        self._connections = connections
        self.is_refused = False
        self.client, self.server = _End(self), _End(self)
        self._flows = (
            _Flow(self, ways["requests"], self.client, self.server),
            _Flow(self, ways["answers"], self.server, self.client),
        )
        self.client.flow, self.server.flow = self._flows
        self.client.reverse, self.server.reverse = reversed(self._flows)
        self._dialling: asyncio.Task[None] | None = None

    def made(self, end: "_End") -> None:
        """One of the two ends is connected."""
        if end is self.client:
            self._connections.add(self)
            if self.is_refused:
                self.reset()
            else:
                self._dialling = asyncio.get_running_loop().create_task(self._dial())
        else:
            self.pump()

    def pump(self) -> None:
        """Pass on what may pass now."""
        for flow in self._flows:
            flow.pump()

    def reset(self) -> None:
        """End both ends without a word."""
        self._forget()
        for end in (self.client, self.server):
            end.reset()

    def close(self) -> None:
        """End both ends in order, where each direction has ended."""
        if all(flow.has_ended for flow in self._flows):
            self._forget()
            for end in (self.client, self.server):
                end.close()

    def _forget(self) -> None:
        self._connections.discard(self)
        if self._dialling is not None:
            self._dialling.cancel()
        for flow in self._flows:
            flow.drop()

    async def _dial(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, *self._target)
        except OSError:
            # The server is away: the client sees what it would see without us.
            self.reset()


class _End(asyncio.Protocol):
    """The proxy's side of a connection to the client or to the server."""

    # Set by the connection, which makes both ends first.
    flow: "_Flow"
    reverse: "_Flow"

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the base class.
        self.transport = cast("asyncio.Transport", transport)
        self._connection.made(self)

    def data_received(self, data: bytes) -> None:
        self.flow.take(data)

    def eof_received(self) -> bool:
        self.flow.take(b"")
        # The other direction goes on until its own end.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.flow.take(None)

    def pause_writing(self) -> None:
        self.reverse.note_target(is_full=True)

    def resume_writing(self) -> None:
        self.reverse.note_target(is_full=False)

    def close(self) -> None:
        """End this connection once everything is written."""
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """End this connection as if the network had failed."""
        if self.transport is None or self.transport.is_closing():
            return
        wire: socket.socket = self.transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


class _Flow:
    """One direction of one connection."""

    def __init__(self, connection: _Connection, way: _Way, source: _End, target: _End) -> None:
        self._connection = connection
        self._way = way
        self._source = source
        self._target = target
        # With the time before which it must not pass. Empty bytes are the end of the stream,
        # None is the loss of the connection.
        self._held: deque[tuple[float, bytes | None]] = deque()
        self._held_bytes = 0
        self._is_target_full = False
        self._is_source_held = False
        self._is_dropped = False
        self._timer: asyncio.TimerHandle | None = None
        self.has_ended = False
        """True once the end of the stream was passed on."""

    def take(self, data: bytes | None) -> None:
        """Pass something on, now or later."""
        if self._is_dropped:
            return
        if data and not self._held and self._way.is_open and self._target.transport is not None:
            self._target.transport.write(data)
            return
        now_s = asyncio.get_running_loop().time()
        self._held.append((now_s + self._way.latency_s, data))
        self._held_bytes += len(data or b"")
        self.pump()

    def pump(self) -> None:
        """Pass on what may pass now, and come back for the rest."""
        self._cancel_timer()
        now_s = asyncio.get_running_loop().time()
        room = self._room()
        while self._held and not self._way.is_paused and self._can_pass():
            due_s, data = self._held[0]
            if due_s > now_s:
                self._come_back(due_s)
                break
            if data is not None and len(data) > room:
                self._held[0] = (due_s, data[room:])
                self._pass(data[:room])
                self._come_back(now_s + _DRIP_EVERY_S)
                break
            self._held.popleft()
            room -= len(data or b"")
            self._pass(data)
        self._hold_or_release_source()

    def note_target(self, *, is_full: bool) -> None:
        """Whether the other side takes more at present."""
        self._is_target_full = is_full
        self._hold_or_release_source()

    def drop(self) -> None:
        """Pass nothing more, ever."""
        self._is_dropped = True
        self._cancel_timer()
        self._held.clear()

    def _hold_or_release_source(self) -> None:
        is_held = self._is_target_full or self._held_bytes > _HELD_BYTES
        transport = self._source.transport
        if is_held == self._is_source_held or transport is None or transport.is_closing():
            return
        self._is_source_held = is_held
        if is_held:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _room(self) -> int:
        """How many bytes may pass in this turn."""
        rate = self._way.bytes_per_s
        return 2**62 if rate is None else max(1, int(rate * _DRIP_EVERY_S))

    def _can_pass(self) -> bool:
        # The loss of a source is passed on even where the other side was never reached.
        return self._target.transport is not None or self._held[0][1] is None

    def _pass(self, data: bytes | None) -> None:
        self._held_bytes -= len(data or b"")
        target = self._target.transport
        if data is None:
            self._connection.reset()
        elif target is not None and not target.is_closing():
            if data:
                target.write(data)
                return
            target.write_eof()
            self.has_ended = True
            self._connection.close()

    def _come_back(self, at_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(at_s, self.pump)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
