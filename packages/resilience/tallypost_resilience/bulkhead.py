"""Bounds how much of a process one peer or tenant can occupy at a time.

Whoever finds all places taken waits in a queue that is bounded too; behind it the answer is no,
at once, instead of a wait that only ends in a timeout.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from tallypost_core.errors import AppError, ErrorKind
from tallypost_resilience.deadline import Deadline, DeadlineExceeded
from tallypost_telemetry import metrics

log = structlog.get_logger()


class BulkheadFull(AppError):
    """Too much of this is under way already; try again in a moment."""

    code = "bulkhead_full"
    kind = ErrorKind.UNAVAILABLE


class _Compartment:
    """The places of one key; it exists while at least one is taken."""

    def __init__(self) -> None:
        self.taken = 0
        self.queue: deque[asyncio.Future[None]] = deque()
        self.has_refused = False


class Bulkhead:
    """Places by key, first come, first served. In this process only."""

    def __init__(
        self, name: str, *, places: int, queue_limit: int, retry_after_s: float = 1.0
    ) -> None:
        """Each key has `places`, and up to queue_limit callers may wait for one.

        name, a fixed word, goes to the metric and the log. retry_after_s is what those who find
        the queue full are told. Raises ValueError for places below 1 or a negative queue_limit.
        """
        if places < 1 or queue_limit < 0:
            raise ValueError("places must be at least 1 and queue_limit at least 0")
        self._name = name
        self._places = places
        self._queue_limit = queue_limit
        self._retry_after_s = retry_after_s
        self._compartments: dict[str, _Compartment] = {}

    @asynccontextmanager
    async def place(self, key: str, deadline: Deadline) -> AsyncIterator[None]:
        """Hold one place of the key: `async with bulkhead.place(key, deadline):`.

        Raises BulkheadFull where the queue is full, and DeadlineExceeded where no place became
        free in time. The deadline does not bound the block itself.
        """
        compartment = self._compartments.setdefault(key, _Compartment())
        try:
            await self._enter(key, compartment, deadline)
        except DeadlineExceeded:
            metrics.record_bulkhead_entry(self._name, "late")
            raise
        metrics.record_bulkhead_entry(self._name, "entered")
        try:
            yield
        finally:
            self._leave(key, compartment)

    def __len__(self) -> int:
        """How many keys have a place taken."""
        return len(self._compartments)

    async def _enter(self, key: str, compartment: _Compartment, deadline: Deadline) -> None:
        if compartment.taken < self._places:
            compartment.taken += 1
            return
        if len(compartment.queue) >= self._queue_limit:
            self._refuse(key, compartment)
        turn = asyncio.get_running_loop().create_future()
        compartment.queue.append(turn)
        try:
            async with deadline.enforced():
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # The place came in the same moment; it belongs to the next one now.
                self._leave(key, compartment)
            elif turn in compartment.queue:
                compartment.queue.remove(turn)
            raise

    def _leave(self, key: str, compartment: _Compartment) -> None:
        """Hand the place to whoever waits longest, or let it be free."""
        while compartment.queue:
            turn = compartment.queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        compartment.has_refused = False
        compartment.taken -= 1
        if compartment.taken == 0:
            del self._compartments[key]

    def _refuse(self, key: str, compartment: _Compartment) -> None:
        metrics.record_bulkhead_entry(self._name, "full")
        if not compartment.has_refused:
            # Once for each time of trouble: an overload must not become one of the log as well.
            compartment.has_refused = True
            log.warning("bulkhead.full", bulkhead=self._name, key=key)
        raise BulkheadFull(retry_after_s=self._retry_after_s)
