"""The world's mail servers in one process: our simulator, which counts copies and notes when.

It takes everything, or fails as it is told, and is asked over a pipe.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from msgspec import Struct

from tallypost_simulators.smtp_connection import Connection
from tallypost_simulators.smtp_faults import Fault, Faults, SinkPhase
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


class Tally:
    """What came to a far end."""

    def __init__(self) -> None:
        self.taken = 0
        self.arrived: Arrived = {}

    def note(self, email_id: str, recipients: Iterable[str]) -> None:
        """One message was taken."""
        now_s = time.monotonic()
        self.taken += 1
        for recipient in recipients:
            copies = self.arrived.get((email_id, recipient))
            if copies is None:
                self.arrived[email_id, recipient] = Copies(1, now_s)
            else:
                copies.count += 1


def merge(parts: Iterable[Arrived]) -> Arrived:
    """What came to several far ends together."""
    merged: Arrived = {}
    for key, copies in (item for part in parts for item in part.items()):
        before = merged.get(key)
        if before is None:
            merged[key] = copies
        else:
            first_at_s = min(before.first_at_s, copies.first_at_s)
            merged[key] = Copies(before.count + copies.count, first_at_s)
    return merged


class FarEnd:
    """A server in a process of its own that takes mail and counts it; `port` is where."""

    def __init__(self, port: int, process: SideProcess) -> None:
        self.port = port
        self._process = process

    def taken(self) -> int:
        """Messages that came since `forget`."""
        return int(self._process.ask("taken"))

    def dropped(self) -> int:
        """Those of them that were taken and, for a fault, not acknowledged in the usual way."""
        return int(self._process.ask("dropped"))

    def arrived(self) -> Arrived:
        """Every copy that came since `forget`."""
        copies: Arrived = self._process.ask("arrived")
        return copies

    def forget(self) -> None:
        """Forget what came, and hang up on everybody where the protocol has sessions."""
        self._process.ask("forget")


class CountingSink(FarEnd):
    """A running sink."""

    def misbehave(self, *faults: Fault, latency_s: float = 0.0) -> None:
        """Fail like this from now on, with latency_s before each reply; as it should without any.

        A connection that hangs already goes on to hang.
        """
        self._process.ask("misbehave", faults, latency_s)

    def refused(self) -> set[str]:
        """Ids of the emails whose message was refused for good as a whole, since `forget`."""
        email_ids: set[str] = self._process.ask("refused")
        return email_ids


@contextmanager
def counting_sink() -> Iterator[CountingSink]:
    """A sink that takes everything at once."""
    with side_process("sink", _serve) as process:
        yield CountingSink(process.ask("port"), process)


class _CountedFaults(Faults):
    """Counts how often a message is taken and its client does not learn of it in time, and keeps
    what is refused at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self.refused: set[str] = set()

    def take(self, phase: SinkPhase, text: str = "") -> Fault | None:
        fault = super().take(phase, text)
        if fault is not None and phase == "final":
            if fault.action != "reply":
                self.dropped += 1
            elif fault.reply.startswith("5"):
                self.refused.add(text)
        return fault


class _Ledger(Reception):
    """Counts by recipient and notes the time; drops the rest."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults, _MAX_SIZE_BYTES, None, is_counting=False)
        self.tally = Tally()

    def note(self, message: ReceivedMessage) -> None:
        self.taken += 1
        self.tally.note(message.email_id, message.recipients)


@asynccontextmanager
async def _serve() -> AsyncIterator[Answers]:
    faults = _CountedFaults()
    ledger = _Ledger(faults)
    sessions: set[Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTPSession(ledger, sessions), "127.0.0.1", 0)

    def misbehave(active: tuple[Fault, ...], latency_s: float) -> None:
        faults.active = list(active)
        faults.latency_s = latency_s

    async def forget() -> None:
        await asyncio.gather(*(session.stop() for session in [*sessions]))
        ledger.tally, faults.dropped, faults.refused = Tally(), 0, set()

    try:
        yield {
            "port": lambda: server.sockets[0].getsockname()[1],
            "taken": lambda: ledger.tally.taken,
            "dropped": lambda: faults.dropped,
            "arrived": lambda: ledger.tally.arrived,
            "misbehave": misbehave,
            "refused": lambda: faults.refused,
            "forget": forget,
        }
    finally:
        server.close()
        await forget()
        await server.wait_closed()
