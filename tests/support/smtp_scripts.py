"""An SMTP server that follows a script: it fails wherever and however a test wants.

It shares no code with the client. It binds 127.0.0.1 on a free port.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from tests.support.smtp_peers import wait_until

Step = Literal[
    "connect", "hello", "tls", "handshake", "auth", "mail", "rcpt", "data", "body", "final", "reset"
]
Script = Mapping[Step, str | list[str]]

HANG = "hang"
"""Silence for ever; in step `body` nothing more is read either."""
DRIP = "drip"
"""A reply that comes one byte at a time and never ends."""
DROP = "drop"
"""The connection is reset."""
CLOSE = "close"
"""The connection ends in an orderly way."""
GARBAGE = "garbage"
"""Bytes that are no reply."""
OVERLONG = "overlong"
"""A reply that is longer than anybody wants to keep."""
NOT_OFFERED = "not offered"

PIPELINING = ("PIPELINING", "SIZE 100000000")
ONE_BY_ONE = ("SIZE 100000000",)

_DRIP_S = 0.02
_READ_BYTES = 65_536
_STREAM_LIMIT_BYTES = 64 * 1024 * 1024


class ScriptedPeer:
    """A server that does exactly what its script says at each step, and else behaves well.

    script maps a step to a reply line, or to one of the words above (NOT_OFFERED for `tls` and
    `auth` only), or to a list of these, used one after the other until all went. Change it while
    it runs. Without a word to the contrary RCPT is refused after a refused MAIL, and DATA where
    no recipient was taken. In step `body` one byte of the content has come; in `handshake`
    nothing of TLS has.
    """

    def __init__(
        self,
        script: Script | None = None,
        offers: Sequence[str] = ONE_BY_ONE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """offers are lines of the reply to EHLO. Without tls, STARTTLS is followed by nonsense."""
        self.script: dict[Step, str | list[str]] = dict(script or {})
        self.offers = tuple(offers)
        self.connections = 0
        self.steps: list[Step] = []
        self.lines: list[bytes] = []
        """Every command line that was read."""
        self.bodies: list[bytes] = []
        """Every message that was read to its end, its final dot included, but for empty ones."""
        self.empty_bodies = 0
        self.received = bytearray()
        """All bytes that clients sent, read or not, as they were before TLS."""
        self.writes: list[bytes] = []
        """The same as they came; on loopback a piece for each write of the client."""
        self.is_tls_implicit = False
        """With tls: from the first byte, not by STARTTLS."""
        self.hangs_up_after_421 = True
        self.port = 0
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._envelopes: dict[asyncio.StreamWriter, _Envelope] = {}
        self._never = asyncio.Event()

    def drop_all(self) -> None:
        """End every open connection, as a restart of the peer does."""
        for writer in [*self._writers]:
            writer.transport.abort()

    def say_to_all(self, words: bytes) -> None:
        """Send bytes that nobody asked for."""
        for writer in self._writers:
            writer.write(words)

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._writers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedPeer"]:
        """Listen for as long as the block lasts."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._protocol, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self._never.set()
            self.drop_all()
            server.close()
            await server.wait_closed()
            await wait_until(lambda: not self._writers)

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = _RecordingReader(self.received, self.writes)
        return asyncio.StreamReaderProtocol(reader, self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        self._envelopes[writer] = _Envelope()
        try:
            if self._tls is not None and self.is_tls_implicit:
                await writer.start_tls(self._tls)
            if await self._answer("connect", "220 peer ready", reader, writer):
                while line := await reader.readline():
                    self.lines.append(line)
                    if not await self._command(line, reader, writer):
                        break
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # The client hung up, which is its right.
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            del self._envelopes[writer]

    async def _command(
        self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        verb = line.split()[0].upper() if line.split() else b""
        envelope = self._envelopes[writer]
        if verb == b"EHLO":
            return await self._answer("hello", self._greeting(), reader, writer)
        if verb == b"DATA":
            return await self._data(reader, writer)
        steps: dict[bytes, tuple[Step, str]] = {
            b"STARTTLS": ("tls", "220 go ahead"),
            b"AUTH": ("auth", "235 2.7.0 welcome"),
            b"MAIL": ("mail", "250 2.1.0 ok"),
            b"RCPT": ("rcpt", "250 2.1.5 ok" if envelope.has_sender else "503 5.5.1 MAIL first"),
            b"RSET": ("reset", "250 2.0.0 ok"),
        }
        if verb not in steps:
            replies = {b"QUIT": b"221 bye\r\n", b"HELO": b"250 peer\r\n"}
            writer.write(replies.get(verb, b"502 what?\r\n"))
            return verb != b"QUIT"
        step, reply = steps[verb]
        return await self._answer(step, reply, reader, writer)

    async def _data(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        is_for_somebody = self._envelopes[writer].recipients > 0
        usual = "354 go ahead" if is_for_somebody else "554 5.5.1 no valid recipients"
        action = self._next_action("data", usual)
        if not await self._act("data", action, reader, writer):
            return False
        if not action.startswith("354"):
            return True
        if "body" in self.script:
            await reader.readexactly(1)
            return await self._answer("body", "", reader, writer)
        start = await reader.readexactly(3)
        if start == b".\r\n":
            self.empty_bodies += 1
        else:
            self.bodies.append(start + await reader.readuntil(b"\r\n.\r\n"))
        usual = "250 2.0.0 ok: queued as 4XyZ1"
        return await self._answer("final", usual, reader, writer)

    def _greeting(self) -> str:
        offers = ["peer", *self.offers]
        if self.script.get("tls", NOT_OFFERED) != NOT_OFFERED:
            offers.append("STARTTLS")
        if self.script.get("auth") != NOT_OFFERED and not any("AUTH" in item for item in offers):
            offers.append("AUTH PLAIN LOGIN")
        return "".join(f"250-{offer}\r\n" for offer in offers) + "250 HELP"

    async def _answer(
        self, step: Step, usual: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        return await self._act(step, self._next_action(step, usual), reader, writer)

    def _next_action(self, step: Step, usual: str) -> str:
        action = self.script.get(step, usual)
        if isinstance(action, list):
            return action.pop(0) if action else usual
        return action

    async def _act(
        self, step: Step, action: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Carry out one action; False where the connection ends with it."""
        self.steps.append(step)
        self._envelopes[writer].note(step, action)
        if action == HANG:
            await self._hang(step, reader, writer)
        if action == DRIP:
            await self._drip(writer)
        if action == DROP:
            _reset(writer)
        if action == CLOSE:
            writer.close()
            await writer.wait_closed()
        if action in {HANG, DRIP, DROP, CLOSE}:
            return False
        writer.write(_WORDS.get(action) or action.encode("ascii") + b"\r\n")
        await writer.drain()
        if step == "tls" and action.startswith("220"):
            return await self._shake_hands(reader, writer)
        return not (action.startswith("421") and self.hangs_up_after_421)

    async def _hang(
        self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if step == "body":
            # Whoever does not read a message does not see its sender go either.
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # Typed as write-only.
            await self._never.wait()
        while await reader.read(_READ_BYTES):
            pass

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        for byte in b"250-":
            writer.write(bytes((byte,)))
        while not self._never.is_set():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(_DRIP_S)

    async def _shake_hands(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if "handshake" in self.script:
            return await self._answer("handshake", "", reader, writer)
        if self._tls is None:
            writer.write(b"this is not TLS\r\n" * 4)
            await writer.drain()
            return True
        await writer.start_tls(self._tls)
        return True


_WORDS = {GARBAGE: b"!?\x00\xff\r\n", OVERLONG: b"250-" + b"x" * 100_000}


class _Envelope:
    """How far the transaction on one connection has come."""

    def __init__(self) -> None:
        self.has_sender = False
        self.recipients = 0

    def note(self, step: Step, action: str) -> None:
        """Learn from what is being answered."""
        if step == "mail":
            self.has_sender, self.recipients = action.startswith("2"), 0
        elif step == "rcpt":
            self.recipients += action.startswith("2")


class _RecordingReader(asyncio.StreamReader):
    """A stream that notes what came, whether or not anybody reads it."""

    def __init__(self, received: bytearray, writes: list[bytes]) -> None:
        super().__init__(limit=_STREAM_LIMIT_BYTES)
        self._received = received
        self._writes = writes

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # Typed too widely.
        self._received += data
        self._writes.append(data)
        super().feed_data(data)


def _reset(writer: asyncio.StreamWriter) -> None:
    """With no time to linger, closing sends RST in the place of FIN."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
