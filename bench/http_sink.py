"""A mail provider's HTTP API that takes everything and notes when: a process of its own.

It reads no more of a request than its first words and where it ends, and answers as SendGrid's Mail
Send does. So it costs little beside whoever sends, and the same for all of them. Only mail counts:
a worker asks about its domains as well. Commands are those of `smtp_sink`.
"""

import asyncio
import re
from typing import cast

import uvloop

from bench.sink_process import Tally, serve

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_MAIL = b"POST /v3/mail/send "
_HEAD_END = b"\r\n\r\n"
_ANSWER = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: 1\r\nContent-Length: 0\r\n\r\n"


class _Session(asyncio.Protocol):
    """One connection, kept for any number of requests."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the base class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (is_mail := self._take_request()) is not None:
            if is_mail:
                self._tally.note_taken()
            self._transport.write(_ANSWER)

    def _take_request(self) -> bool | None:
        """Whether the next request is mail; None while it is not whole."""
        head_end = self._buffer.find(_HEAD_END)
        if head_end < 0:
            return None
        length = _LENGTH.search(self._buffer, 0, head_end + 2)
        end = head_end + len(_HEAD_END) + (int(length[1]) if length else 0)
        if len(self._buffer) < end:
            return None
        is_mail = self._buffer.startswith(_MAIL)
        del self._buffer[:end]
        return is_mail


def main() -> None:
    """Serve until the input ends; the first line of output is the port."""
    tally = Tally()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(lambda: _Session(tally), tally))


if __name__ == "__main__":
    main()
