"""An SMTP server that takes everything and notes when: a process of its own.

Against Postfix's smtp-sink it can speak TLS, be as slow as a server far away, refuse a share of
what it gets, and tell when each email came. Commands are answered together, as they came.
"""

import asyncio
import contextlib
import random
import re
import ssl
import sys
from typing import cast

import msgspec
import uvloop
from msgspec import Struct

from bench.sink_process import Tally, serve
from tallypost_providers.types import EMAIL_ID_HEADER

_EMAIL_ID = re.compile(rb"\r\n" + EMAIL_ID_HEADER.encode() + rb": (\S+)\r\n", re.IGNORECASE)
_BODY_END = b"\r\n.\r\n"


class SinkJob(Struct, frozen=True, kw_only=True):
    """How the sink behaves."""

    least_delay_s: float = 0.0
    most_delay_s: float = 0.0
    """Each round trip takes a time between the two, drawn evenly."""
    refused_share: float = 0.0
    """Of the recipients; every other one for good (550), the rest for now (451)."""
    certificate_file: str = ""
    """With its key in the same file; offers STARTTLS, and demands it."""
    keeps_ids: bool = False
    seed: int = 1


class _SMTPTally(Tally):
    """What all sessions of the sink count together, and how they behave."""

    def __init__(self, job: SinkJob) -> None:
        self.job = job
        self.chance = random.Random(job.seed)  # noqa: S311 - decides about failures.
        self.context: ssl.SSLContext | None = None
        if job.certificate_file:
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.load_cert_chain(job.certificate_file)
        super().__init__()

    def note_message(self, body: bytes) -> None:
        """Count a message."""
        self.note_taken()
        if self.job.keeps_ids and (found := _EMAIL_ID.search(body)):
            self.arrived.setdefault(found[1].decode("ascii"), self.last_s)

    def refuses(self) -> str:
        """The refusal of a recipient; empty where it is taken."""
        if self.chance.random() >= self.job.refused_share:
            return ""
        self.note_refused()
        return "550 5.1.1 no such user" if self.refused % 2 else "451 4.2.1 try again later"

    def delay_s(self) -> float:
        """How long the next round trip takes."""
        return self.chance.uniform(self.job.least_delay_s, self.job.most_delay_s)


class _Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, tally: _SMTPTally) -> None:
        self._tally = tally
        self._buffer = bytearray()
        self._replies = bytearray()
        self._is_in_body = False
        self._is_encrypted = False
        self._recipients = 0
        self._searched = 0
        self._is_closing = False
        self._due_s = 0.0
        self._upgrade: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._say("220 localhost ESMTP")
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take_body() if self._is_in_body else self._take_line():
            pass
        self._flush()

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self._buffer[:end]).upper()
        del self._buffer[: end + 2]
        if line.startswith((b"EHLO", b"HELO")):
            offers = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
            if self._tally.context is not None and not self._is_encrypted:
                offers.append("STARTTLS")
            self._say("\r\n".join(["250-localhost", *(f"250-{o}" for o in offers), "250 HELP"]))
        elif line == b"STARTTLS" and self._tally.context is not None:
            self._say("220 2.0.0 go ahead")
            self._flush()
            self._upgrade = asyncio.create_task(self._encrypt(self._tally.context))
        elif self._tally.context is not None and not self._is_encrypted and line != b"QUIT":
            self._say("530 5.7.0 STARTTLS first")
        elif line.startswith(b"RCPT"):
            self._rcpt()
        elif line == b"DATA":
            self._is_in_body = self._recipients > 0
            self._searched = 0
            self._say("354 go ahead" if self._is_in_body else "554 5.5.1 no valid recipients")
        elif line.startswith((b"MAIL", b"RSET")):
            self._recipients = 0
            self._say("250 2.0.0 ok")
        else:
            self._is_closing = line == b"QUIT"
            self._say("221 2.0.0 bye" if self._is_closing else "250 2.0.0 ok")
        return True

    def _rcpt(self) -> None:
        refusal = self._tally.refuses()
        self._recipients += not refusal
        self._say(refusal or "250 2.1.5 ok")

    def _take_body(self) -> bool:
        # A message never is empty here, so its end never stands at its very start.
        end = self._buffer.find(_BODY_END, max(0, self._searched - len(_BODY_END)))
        if end < 0:
            self._searched = len(self._buffer)
            return False
        self._tally.note_message(bytes(self._buffer[:end]) if self._tally.job.keeps_ids else b"")
        del self._buffer[: end + len(_BODY_END)]
        self._is_in_body = False
        self._recipients = 0
        self._say("250 2.0.0 ok: queued as 1")
        return True

    async def _encrypt(self, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        self._is_encrypted = True
        with contextlib.suppress(OSError):
            # A handshake that fails ends this connection, which its client sees as well.
            transport = await loop.start_tls(self._transport, self, context, server_side=True)
            self._transport = cast("asyncio.Transport", transport)

    def _say(self, reply: str) -> None:
        self._replies += reply.encode("ascii") + b"\r\n"

    def _flush(self) -> None:
        if not self._replies:
            return
        replies, self._replies = bytes(self._replies), bytearray()
        if not self._tally.job.most_delay_s:
            self._write(replies)
            return
        # Never before the reply that was begun earlier.
        loop = asyncio.get_running_loop()
        self._due_s = max(self._due_s, loop.time() + self._tally.delay_s())
        loop.call_at(self._due_s, self._write, replies)

    def _write(self, replies: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(replies)
            if self._is_closing:
                self._transport.close()


def main() -> None:
    """Behave as the first argument says; the first line of output is the port."""
    tally = _SMTPTally(msgspec.json.decode(sys.argv[1], type=SinkJob))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(lambda: _Session(tally), tally))


if __name__ == "__main__":
    main()
