"""Keeps SMTP sessions open between handovers: at most so many, none too old."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tallypost_core.clock import monotonic_s
from tallypost_providers.smtp_connection import Budget, HandoverStopped, SMTPConnection
from tallypost_providers.smtp_failures import Silence

# Below the shortest idle time-outs of common relays, so that a session is seldom found dead.
MAX_IDLE_S = 20.0
# A session this old gives way to a fresh one, so that changes in DNS take effect.
MAX_AGE_S = 300.0
_WAIT_LIMIT_S = 60.0

Opener = Callable[[Budget], Awaitable[SMTPConnection]]


class Lease:
    """One handover's use of one place in the pool; its connection is kept only if it says so."""

    def __init__(self, open_one: Opener, kept: SMTPConnection | None) -> None:
        self._open_one = open_one
        self.connection = kept
        self.is_kept = False

    async def connect(self, budget: Budget) -> SMTPConnection:
        """The connection kept from an earlier handover, else a new one.

        Raises HandoverStopped where none can be opened.
        """
        if self.connection is None:
            self.connection = await self._open_one(budget)
        return self.connection

    async def reconnect(self, budget: Budget) -> SMTPConnection:
        """A new connection in the place of a broken one; raises HandoverStopped."""
        if self.connection is not None:
            self.connection.abort()
            self.connection = None
        return await self.connect(budget)

    def keep(self) -> None:
        """State that the peer answered everything: the next handover may have the connection."""
        self.is_kept = True


class SMTPPool:
    """Connections to one relay; a connection is with one handover at a time.

    The one given back last is taken first, so that spare ones grow old and are closed.
    """

    def __init__(self, open_one: Opener, limit: int) -> None:
        self._open_one = open_one
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[SMTPConnection] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @asynccontextmanager
    async def lease(self, budget: Budget) -> AsyncIterator[Lease]:
        """A place in the pool for one handover.

        A connection that its user did not mark with `keep` is hung up on the way out, as after
        a cancellation, when nobody knows what the peer will say next.
        Raises HandoverStopped where no place becomes free in time.
        """
        try:
            async with asyncio.timeout(budget.before_body_s(_WAIT_LIMIT_S)):
                await self._slots.acquire()
        except TimeoutError as error:
            note = "no connection became free in time"
            raise HandoverStopped("connect", Silence.TIMEOUT, note) from error
        self._retire_old()
        lease = Lease(self._open_one, self._idle.pop() if self._idle else None)
        try:
            yield lease
        finally:
            self._take_back(lease)
            self._slots.release()

    async def close(self) -> None:
        """Take leave of the peer on every idle connection; those in use close as they return."""
        self._is_closed = True
        while self._idle:
            self._retire(self._idle.pop())
        await asyncio.gather(*self._leaving)

    def _take_back(self, lease: Lease) -> None:
        connection = lease.connection
        if connection is None:
            return
        if lease.is_kept and connection.is_alive and not self._is_closed:
            connection.is_reused = True
            connection.idle_since_s = monotonic_s()
            self._idle.append(connection)
        else:
            connection.abort()

    def _retire_old(self) -> None:
        now_s = monotonic_s()
        for connection in [*self._idle]:
            is_old = (
                now_s - connection.idle_since_s > MAX_IDLE_S
                or now_s - connection.opened_at_s > MAX_AGE_S
            )
            if is_old or not connection.is_alive:
                self._idle.remove(connection)
                self._retire(connection)

    def _retire(self, connection: SMTPConnection) -> None:
        task = asyncio.create_task(connection.quit())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
