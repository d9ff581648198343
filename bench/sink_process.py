"""What every sink process has: counts, and commands on its standard input.

`reset` forgets what came so far, `arrivals` answers with it as a line of JSON.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct


class Arrivals(Struct, frozen=True, kw_only=True):
    """What came so far; times are of the monotonic clock, which all processes share."""

    taken: int
    refused: int
    first_s: float
    last_s: float
    """When the last message was taken or the last recipient refused."""
    arrived: dict[str, float] = {}
    """When each email id came; with `keeps_ids`."""

    @property
    def done(self) -> int:
        """Everything that was answered for good or for now."""
        return self.taken + self.refused

    @property
    def rate(self) -> float:
        """Answered in a second, between the first and the last."""
        return (self.done - 1) / (self.last_s - self.first_s)


class Tally:
    """What all sessions of a sink count together."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what came so far."""
        self.taken = self.refused = 0
        self.first_s = self.last_s = 0.0
        self.arrived: dict[str, float] = {}

    def note_taken(self) -> None:
        """Count a message."""
        self._note_time()
        self.taken += 1

    def note_refused(self) -> None:
        """Count a refusal."""
        self._note_time()
        self.refused += 1

    def snapshot(self) -> Arrivals:
        """What came so far."""
        return Arrivals(
            taken=self.taken,
            refused=self.refused,
            first_s=self.first_s,
            last_s=self.last_s,
            arrived=self.arrived,
        )

    def _note_time(self) -> None:
        self.last_s = time.monotonic()
        self.first_s = self.first_s or self.last_s


async def serve(factory: Callable[[], asyncio.Protocol], tally: Tally) -> None:
    """Listen on a free port, which is the first line of output, until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0)
    _answer(server.sockets[0].getsockname()[1])
    over = asyncio.Event()
    commands: dict[bytes, Callable[[], None]] = {
        b"reset\n": tally.reset,
        b"arrivals\n": lambda: _answer(tally.snapshot()),
    }
    reader = threading.Thread(target=_follow, args=(loop, commands, over), daemon=True)
    reader.start()
    await over.wait()
    server.close()


def _follow(
    loop: asyncio.AbstractEventLoop, commands: dict[bytes, Callable[[], None]], over: asyncio.Event
) -> None:
    """Pass on commands, in a thread; the end of input is the end of the sink."""
    for line in sys.stdin.buffer:
        loop.call_soon_threadsafe(commands[line])
    loop.call_soon_threadsafe(over.set)


def _answer(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()
