"""The wire of one SMTP session: lines out, replies in, and who owes whom a word.

It knows nothing of commands. What it keeps track of is how many replies the peer still owes, so
that one which nobody asked for, text sent ahead of TLS among them, is never taken for an answer.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any, cast

from tallypost_core.clock import monotonic_s
from tallypost_core.joined_writes import JoinedWrites
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped, Phase, Reply, Silence
from tallypost_providers.smtp_replies import ReplyMalformed, ReplyReader

# A larger message goes out in pieces of this size, each when the one before has left.
_PIECE_BYTES = 256 * 1024


class SMTPProtocol(asyncio.Protocol):
    """One connection, used by one task at a time; `connect` makes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # The one to write to comes last; under TLS the one below it has a buffer of its own.
        self._transports: list[asyncio.Transport] = []
        self._writes: JoinedWrites
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._owed = 1  # The greeting.
        self._end: tuple[Silence, str] | None = None
        self._is_asked_to_go_on = False
        self._is_paused = False
        self._is_in_body = False
        self._is_body_written = False
        self._is_reply_early = False
        self._waiter: asyncio.Future[None] | None = None
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0

    @property
    def is_idle(self) -> bool:
        """True where the peer has answered everything and waits for a command."""
        return (
            self._owed == 0
            and self._end is None
            and not self._replies
            and not self._is_asked_to_go_on
            and not self._transports[-1].is_closing()
        )

    # Any: the library's own nested tuples.
    @property
    def certificate(self) -> Mapping[str, Any]:
        """What the peer has proved to be, as `ssl.SSLSocket.getpeercert` has it; empty without
        TLS."""
        return self._transports[-1].get_extra_info("peercert") or {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the base class.
        self._write_to(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        if self._is_in_body and not self._is_body_gone():
            self._is_reply_early = True
        read_before = len(self._replies)
        try:
            self._reader.feed(data, self._replies)
        except ReplyMalformed:
            self._hang_up(Silence.GARBAGE, "the peer's answer is no SMTP reply")
        self._owed -= len(self._replies) - read_before
        if self._owed < 0 or (self._owed == 0 and not self._reader.is_between_replies):
            self._hang_up(Silence.GARBAGE, "the peer spoke out of turn")
        self._wake()

    def eof_received(self) -> None:
        # A session that only goes one way is of no use; the loop closes the transport.
        self._finish(Silence.RESET, "the connection ended")

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(Silence.RESET, "the connection ended")

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._wake()

    def send(self, phase: Phase, lines: bytes, replies: int) -> None:
        """Write whole command lines, to which the peer owes that many replies.

        Raises HandoverStopped where the peer is gone or has said what nobody asked for.
        """
        self._require_open(phase)
        self._owed += replies
        self._is_asked_to_go_on = False
        self._writes.write(lines)

    async def reply(self, phase: Phase, budget: Budget, limit_s: float | None = None) -> Reply:
        """The next reply, of whatever code but 421.

        limit_s takes the place of the limit that each phase has.
        Raises HandoverStopped for silence, and for 421, after which the peer hangs up.
        """
        while not self._replies:
            if self._end is not None:
                raise HandoverStopped(phase, *self._end)
            await self._wait(phase, budget.deadline_s(phase, limit_s))
        reply = self._replies.popleft()
        self._is_asked_to_go_on = 300 <= reply.code <= 399
        if reply.code == 421:
            self._hang_up(Silence.RESET, "the peer closed the session")
            raise HandoverStopped(phase, reply)
        return reply

    async def send_body(self, content: bytes, budget: Budget) -> Reply:
        """Write dot-stuffed content with its final dot after a 354; the final reply.

        A refusal is taken at any time, an acceptance only once the final dot has left.
        Raises HandoverStopped: in phase data where not a byte left, else in phase final.
        """
        self._require_open("data")
        self._owed = 1
        self._is_asked_to_go_on = False
        self._is_reply_early = self._is_body_written = False
        self._is_in_body = True
        written_before = self._writes.written_bytes
        try:
            await self._write_pieces(content, budget)
            reply = await self.reply("final", budget)
        except HandoverStopped as stop:
            # The connection ended in the turn of the loop at whose end the body would have left.
            if isinstance(stop.signal, Silence) and self._writes.written_bytes == written_before:
                self.abort()
                raise HandoverStopped("data", stop.signal, stop.note) from stop
            raise
        finally:
            self._is_in_body = False
        if self._is_reply_early:
            self._hang_up(Silence.GARBAGE, "the peer answered before the message had ended")
            if reply.is_positive:
                note = "the peer accepted before the message had ended"
                raise HandoverStopped("final", Silence.GARBAGE, note)
        return reply

    async def start_tls(self, context: ssl.SSLContext, host: str, budget: Budget) -> None:
        """Encrypt from here on, once the peer has proved to be host.

        Raises HandoverStopped; the connection is over then.
        """
        budget.require_time("tls")
        self._require_open("tls")
        if self._replies or not self._reader.is_between_replies:
            # What came in plain text could come from anybody on the way.
            self._hang_up(Silence.GARBAGE, "the peer spoke before TLS began")
            self._require_open("tls")
        try:
            async with asyncio.timeout(budget.left_s("tls")):
                transport = await self._loop.start_tls(
                    self._transports[-1], self, context, server_hostname=host
                )
        except ssl.SSLCertVerificationError as error:
            note = f"the peer's certificate is not trusted: {error.verify_message}"
            raise HandoverStopped("tls", Silence.UNTRUSTED, note) from error
        except ssl.SSLError as error:
            # The library's name for what it met, such as WRONG_VERSION_NUMBER for plain text.
            note = f"the TLS handshake failed: {error.reason or 'it is no TLS'}"
            raise HandoverStopped("tls", Silence.GARBAGE, note) from error
        except TimeoutError as error:
            raise HandoverStopped("tls", Silence.TIMEOUT, "no answer in time") from error
        except OSError as error:
            raise HandoverStopped("tls", Silence.RESET, "the connection ended") from error
        if transport is None:
            raise HandoverStopped("tls", Silence.RESET, "the connection ended")
        self._write_to(transport)

    def abort(self) -> None:
        """Hang up at once, dropping what is still to be written; may be called twice."""
        self._hang_up(Silence.RESET, "the connection ended")

    def _write_to(self, transport: asyncio.Transport) -> None:
        self._transports.append(transport)
        self._writes = JoinedWrites(transport, self._loop)

    def _require_open(self, phase: Phase) -> None:
        if self._end is not None:
            raise HandoverStopped(phase, *self._end)
        if self._transports[-1].is_closing():
            raise HandoverStopped(phase, Silence.RESET, "the connection ended")

    async def _write_pieces(self, content: bytes, budget: Budget) -> None:
        """Stop early where the peer answers early or is gone; `reply` then says which."""
        pieces: list[bytes | memoryview] = [content]
        if len(content) > _PIECE_BYTES:
            view = memoryview(content)
            pieces = [view[at : at + _PIECE_BYTES] for at in range(0, len(content), _PIECE_BYTES)]
        for piece in pieces:
            while self._is_paused and not self._replies and self._end is None:
                await self._wait("final", budget.deadline_s("final"))
            if self._replies or self._end is not None:
                return
            self._writes.write(piece)
        self._is_body_written = True

    def _is_body_gone(self) -> bool:
        """True once no byte of the body is in this process any more."""
        if not self._is_body_written:
            return False
        return self._writes.get_write_buffer_size() == 0 and all(
            transport.get_write_buffer_size() == 0 for transport in self._transports[:-1]
        )

    async def _wait(self, phase: Phase, deadline_s: float) -> None:
        """Until something has happened; raises HandoverStopped at the deadline."""
        self._waiter = self._loop.create_future()
        self._watch(deadline_s)
        try:
            await self._waiter
        except TimeoutError as error:
            raise HandoverStopped(phase, Silence.TIMEOUT, "no answer in time") from error
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _watch(self, deadline_s: float) -> None:
        # One timer outlives many waits: one that is set already and fires sooner looks again
        # and sets itself anew, so that a reply in time costs no timer at all.
        self._deadline_s = deadline_s
        if self._timer is not None:
            if self._timer_at_s <= deadline_s:
                return
            self._timer.cancel()
        self._timer_at_s = deadline_s
        self._timer = self._loop.call_later(
            max(0.0, deadline_s - monotonic_s()), self._look_at_the_time
        )

    def _look_at_the_time(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if monotonic_s() < self._deadline_s:
            self._watch(self._deadline_s)
        else:
            self._waiter.set_exception(TimeoutError())

    def _finish(self, silence: Silence, note: str) -> None:
        """From now on nothing can be sent, and no more replies come than were read."""
        if self._end is None:
            self._end = (silence, note)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    def _hang_up(self, silence: Silence, note: str) -> None:
        self._finish(silence, note)
        # close() alone would first wait until a peer that has stopped reading takes the rest.
        for transport in reversed(self._transports):
            transport.abort()


async def connect(host: str, port: int, budget: Budget) -> SMTPProtocol:
    """Open a TCP connection; raises HandoverStopped where there is none in time."""
    budget.require_time("connect")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(budget.left_s("connect")):
            _, protocol = await loop.create_connection(lambda: SMTPProtocol(loop), host, port)
    except TimeoutError as error:
        raise HandoverStopped("connect", Silence.TIMEOUT, "no answer in time") from error
    except OSError as error:
        note = "no connection to the peer"
        raise HandoverStopped("connect", Silence.REFUSED, note) from error
    return protocol
