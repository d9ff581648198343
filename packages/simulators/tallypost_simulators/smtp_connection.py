"""What leaves a connection of the SMTP sink: replies at once, late or never, as the faults say."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import cast

from tallypost_simulators.smtp_faults import Fault, Faults, SinkPhase


class Connection(asyncio.Protocol, ABC):
    """One connection and whatever still runs for it. A subclass takes the client's commands.

    `_is_waiting` is true while a reply is on its way: until then no further command is taken.
    """

    def __init__(self, faults: Faults, connections: "set[Connection]") -> None:
        """connections holds those that still do something; this one keeps itself there."""
        self._faults = faults
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._replies = bytearray()
        self._is_waiting = False
        self._is_closing = False
        # Set once the fault for which this hangs is replaced; None while it does not hang.
        self._released: asyncio.Event | None = None
        self._drip_s: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        # A message that is being handed on goes on: only its acknowledgement has nowhere to go.
        self._transport = None
        if self._is_hanging:
            for task in self._tasks:
                task.cancel()
        if not self._tasks:
            self._connections.discard(self)

    async def stop(self) -> None:
        """Hang up and cancel whatever this connection still does."""
        self._abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _is_hanging(self) -> bool:
        return self._released is not None

    @abstractmethod
    def _advance(self) -> None:
        """Take the commands that wait, and send the replies."""

    def _fails(self, phase: SinkPhase, text: str = "") -> bool:
        """Let a fault happen; False where the usual reply is still to be given."""
        if self._faults.is_quiet:
            return False
        fault = self._faults.take(phase, text)
        return fault is not None and self._carry_out(fault, self._faults.replaced)

    def _carry_out(self, fault: Fault, released: asyncio.Event) -> bool:
        """As `_fails`. released is of the time when the fault was taken, and ends its hang."""
        if fault.action == "reply":
            self._say(fault.reply)
        elif fault.action == "drop":
            self._abort()
        else:
            self._released = released if fault.action == "hang" else None
            self._drip_s = fault.drip_s if fault.action == "drip" else None
            return False
        return True

    def _say(self, reply: str) -> None:
        if self._transport is None:
            # Gone while its message was handed on; a late reply would keep the session for nobody.
            return
        self._is_closing = self._is_closing or reply.startswith("421")
        if self._drip_s is None and not self._is_hanging and not self._faults.latency_s:
            self._replies += reply.encode("ascii") + b"\r\n"
            return
        drip_s, self._drip_s = self._drip_s, None
        self._flush_replies()
        self._is_waiting = True
        self._start(self._say_late(reply.encode("ascii") + b"\r\n", drip_s))

    async def _say_late(self, reply: bytes, drip_s: float | None) -> None:
        await self._wait_out_hang()
        await asyncio.sleep(self._faults.latency_s)
        if drip_s is None:
            self._replies += reply
        else:
            for byte in reply:
                self._replies.append(byte)
                self._flush_replies()
                await asyncio.sleep(drip_s)
        self._is_waiting = False
        self._advance()

    def _go_on_late(self) -> None:
        self._is_waiting = True
        self._start(self._go_on_after_hang())

    async def _go_on_after_hang(self) -> None:
        await self._wait_out_hang()
        self._is_waiting = False
        self._advance()

    async def _wait_out_hang(self) -> None:
        if self._released is not None:
            await self._released.wait()
            self._released = None

    def _flush(self) -> None:
        self._flush_replies()
        if self._is_closing and not self._is_waiting and self._transport is not None:
            self._transport.close()

    def _flush_replies(self) -> None:
        if self._replies and self._transport is not None:
            self._transport.write(bytes(self._replies))
        self._replies.clear()

    def _abort(self) -> None:
        if self._transport is not None:
            self._replies.clear()
            self._transport.abort()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end_task)

    def _end_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._transport is None and not self._tasks:
            self._connections.discard(self)
