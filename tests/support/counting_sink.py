"""The world's mail servers in one process: our simulator, which counts copies and notes when.

It takes everything, or fails as it is told, and is asked over a pipe.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from msgspec import Struct

from tallypost_simulators.smtp_connection import Connection
from tallypost_simulators.smtp_faults import Fault, Faults
from tallypost_simulators.smtp_reception import ReceivedMessage, Reception
from tallypost_simulators.smtp_session import SMTPSession
from tests.support.side_process import Answers, SideProcess, side_process

_MAX_SIZE_BYTES = 64 * 1024 * 1024


class Copies(Struct):
    """What one recipient got of one email."""

    count: int
    first_at_s: float
    """On the monotonic clock, which all processes of a machine share."""


Arrived = dict[tuple[str, str], Copies]
"""By the email's id and the recipient's address."""


class CountingSink:
    """A running sink; `port` is where."""

    def __init__(self, port: int, process: SideProcess) -> None:
        self.port = port
        self._process = process

    def taken(self) -> int:
        """Messages that came since `forget`."""
        return int(self._process.ask("taken"))

    def arrived(self) -> Arrived:
        """Every copy that came since `forget`."""
        copies: Arrived = self._process.ask("arrived")
        return copies

    def misbehave(self, *faults: Fault, latency_s: float = 0.0) -> None:
        """Fail like this from now on, with latency_s before each reply; as it should without any.

        A connection that hangs already goes on to hang.
        """
        self._process.ask("misbehave", faults, latency_s)

    def remaining(self) -> list[Fault]:
        """The faults of the last `misbehave`, with what is left of their `times`."""
        faults: list[Fault] = self._process.ask("remaining")
        return faults

    def forget(self) -> None:
        """Hang up on everybody and forget what came."""
        self._process.ask("forget")


@contextmanager
def counting_sink() -> Iterator[CountingSink]:
    """A sink that takes everything at once."""
    with side_process("sink", _serve) as process:
        yield CountingSink(process.ask("port"), process)


class _Ledger(Reception):
    """Counts by recipient and notes the time; drops the rest."""

    def __init__(self) -> None:
        super().__init__(Faults(), _MAX_SIZE_BYTES, None, is_counting=False)
        self.arrived: Arrived = {}

    def note(self, message: ReceivedMessage) -> None:
        now_s = time.monotonic()
        self.taken += 1
        email_id = message.email_id
        for recipient in message.recipients:
            copies = self.arrived.get((email_id, recipient))
            if copies is None:
                self.arrived[email_id, recipient] = Copies(1, now_s)
            else:
                copies.count += 1


@asynccontextmanager
async def _serve() -> AsyncIterator[Answers]:
    ledger = _Ledger()
    sessions: set[Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTPSession(ledger, sessions), "127.0.0.1", 0)

    def misbehave(faults: tuple[Fault, ...], latency_s: float) -> None:
        ledger.faults.active = list(faults)
        ledger.faults.latency_s = latency_s

    async def forget() -> None:
        await asyncio.gather(*(session.stop() for session in [*sessions]))
        ledger.arrived = {}
        ledger.taken = 0

    try:
        yield {
            "port": lambda: server.sockets[0].getsockname()[1],
            "taken": lambda: ledger.taken,
            "arrived": lambda: ledger.arrived,
            "misbehave": misbehave,
            "remaining": lambda: ledger.faults.active,
            "forget": forget,
        }
    finally:
        server.close()
        await forget()
        await server.wait_closed()
