"""Keeps SMTP sessions open between handovers: at most so many, none too old."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from tallypost_core.clock import monotonic_s
from tallypost_providers.places import Places
from tallypost_providers.smtp_connection import SMTPConnection
from tallypost_providers.smtp_deadlines import Budget

# Below the shortest idle time-outs of common relays, so that a session is seldom found dead.
MAX_IDLE_S = 20.0
# A session this old gives way to a fresh one, so that changes in DNS take effect.
MAX_AGE_S = 300.0

Opener = Callable[[Budget], Awaitable[SMTPConnection]]


class Lease:
    """One handover's use of one place in the pool, for as long as the `with` block lasts.

    A connection on which the peer has not answered everything is hung up on the way out, as
    after a cancellation, when nobody knows what the peer will say next.
    """

    def __init__(self, pool: "SMTPPool") -> None:
        self._pool = pool
        self._connection: SMTPConnection | None = None

    async def connect(self, budget: Budget) -> SMTPConnection:
        """A connection kept from an earlier handover, else a new one.

        Raises HandoverStopped where none can be opened.
        """
        self._connection = self._pool.take_kept()
        if self._connection is None:
            self._connection = await self._pool.open(budget)
        return self._connection

    async def reconnect(self, budget: Budget) -> SMTPConnection:
        """A new connection in the place of a broken one; raises HandoverStopped."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        self._connection = await self._pool.open(budget)
        return self._connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.take_back(self._connection)


class SMTPPool:
    """Connections to one relay; a connection is with one handover at a time.

    The one given back last is taken first, so that spare ones grow old and are closed. Whoever
    waits for a place gets one as `Places` says.
    """

    def __init__(self, open_one: Opener, limit: int) -> None:
        self._open_one = open_one
        self._limit = limit
        self._places = Places(limit)
        self._kept: deque[SMTPConnection] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def lease(self, budget: Budget, *, is_bulk: bool = False) -> Lease:
        """A place in the pool, to be used as `with await pool.lease(budget) as lease`.

        Raises ProviderBusy where no place becomes free in the first third of the time, or the
        pool is closed.
        """
        await self._places.take(budget.left_for_place_s(), is_bulk=is_bulk)
        return Lease(self)

    def take_kept(self) -> SMTPConnection | None:
        """The connection kept last that is still of use; for a Lease."""
        self._retire_idle()
        oldest_s = monotonic_s() - MAX_AGE_S
        while self._kept:
            connection = self._kept.pop()
            if connection.is_reusable and connection.opened_at_s >= oldest_s:
                return connection
            self._retire(connection)
        return None

    async def open(self, budget: Budget) -> SMTPConnection:
        """A new connection; for a Lease. Raises HandoverStopped where none can be opened."""
        # The peer counts a session until it has said goodbye, and allows a client only so many.
        while self._leaving and self._open_count > self._limit:
            await asyncio.wait(self._leaving, return_when=asyncio.FIRST_COMPLETED)
        return await self._open_one(budget)

    @property
    def _open_count(self) -> int:
        """Sessions that are open at most, where each lease has or opens one."""
        return self._places.taken + len(self._kept) + len(self._leaving)

    def take_back(self, connection: SMTPConnection | None) -> None:
        """End a Lease: keep its connection if that is of use, and give its place on."""
        if connection is not None:
            if connection.is_reusable and not self._is_closed:
                self._keep(connection)
            else:
                connection.abort()
        self._places.give_back()

    async def close(self) -> None:
        """Take leave of the peer on every idle connection; those in use close as they return.

        Nobody gets a place any more, and whoever waits for one hears so at once.
        """
        self._is_closed = True
        self._places.close()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._kept:
            self._retire(self._kept.pop())
        await asyncio.gather(*self._leaving)

    def _keep(self, connection: SMTPConnection) -> None:
        connection.is_reused = True
        connection.idle_since_s = monotonic_s()
        self._kept.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(MAX_IDLE_S, self._sweep_idle)

    def _sweep_idle(self) -> None:
        """Close what grows old while no mail flows."""
        self._sweep = None
        self._retire_idle()
        if self._kept:
            left_s = self._kept[0].idle_since_s + MAX_IDLE_S - monotonic_s()
            self._sweep = asyncio.get_running_loop().call_later(left_s, self._sweep_idle)

    def _retire_idle(self) -> None:
        """The longest idle stand on the left."""
        since_s = monotonic_s() - MAX_IDLE_S
        while self._kept and self._kept[0].idle_since_s <= since_s:
            self._retire(self._kept.popleft())

    def _retire(self, connection: SMTPConnection) -> None:
        task = asyncio.get_running_loop().create_task(connection.quit())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
