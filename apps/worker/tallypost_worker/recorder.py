"""Writes results and marks handovers, as many in one transaction as have gathered meanwhile.

While one transaction is in flight the work of the next one collects. A result that cannot be
written is kept and tried again for as long as the process lives.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from uuid import UUID

import structlog

from tallypost_core import clock
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.queue.records import record_and_mark
from tallypost_domain.queue.types import Claim, Settlement
from tallypost_resilience.retry import RetryPolicy
from tallypost_telemetry import database_spans, metrics
from tallypost_worker.delivery_spans import WaitingSpans

_RETRY_S = 0.5
_RETRY_REFUSED_S = 5.0
_MAX_CHUNK = 200
_MAX_REFUSED_AT_ONCE = 5

log = structlog.get_logger()

Mark = tuple[Claim, asyncio.Future[Claim | None]]


class Recorder:
    """The only writer of a worker's results; `run` is its one task."""

    def __init__(
        self,
        pool: Pool,
        worker_id: UUID,
        policy: RetryPolicy,
        *,
        on_due_again: Callable[[Claim], None] | None = None,
    ) -> None:
        """pool logs in as tp_deliver; on_due_again hears of what goes on with another account."""
        self._pool = pool
        self._worker_id = worker_id
        self._policy = policy
        self._on_due_again = on_due_again
        self._settlements: list[Settlement] = []
        # Refused by the database, not for want of it, and when each is tried again: alone, and few
        # at a time, so that they stop nothing.
        self._refused: deque[tuple[float, Settlement]] = deque()
        self._marks: list[Mark] = []
        self._is_marking = True
        self._waiting_spans = WaitingSpans()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def record(self, settlement: Settlement) -> None:
        """Put a result on the list; it will be written, whatever becomes of who found it."""
        self._settlements.append(settlement)
        self._waiting_spans.note(settlement.claim)
        self._signal()

    async def mark(self, claim: Claim) -> Claim | None:
        """Wait until the claim is marked as about to leave; None where it must not be sent."""
        if not self._is_marking:
            return None
        marked: asyncio.Future[Claim | None] = asyncio.get_running_loop().create_future()
        self._marks.append((claim, marked))
        self._waiting_spans.note(claim)
        self._signal()
        return await marked

    def stop_marking(self) -> None:
        """From now on nothing more leaves; who waits for a mark is told None."""
        self._is_marking = False
        _answer(self._marks, {})
        self._marks = []

    async def wait_until_idle(self) -> None:
        """Return once everything given so far is written."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wait_for_work()
            while self._settlements or self._marks or self._is_refused_due:
                if self._settlements or self._marks:
                    await self._write_chunk()
                await self._retry_refused()
            if not (self._settlements or self._refused or self._marks):
                self._idle.set()

    async def _wait_for_work(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_REFUSED_S if self._refused else None):
                await self._work.wait()
        self._work.clear()

    @property
    def _is_refused_due(self) -> bool:
        return bool(self._refused) and self._refused[0][0] <= clock.monotonic_s()

    async def _retry_refused(self) -> None:
        due: list[Settlement] = []
        while self._is_refused_due and len(due) < _MAX_REFUSED_AT_ONCE:
            due.append(self._refused.popleft()[1])
        self._settlements[:0] = due
        await self._write_one_by_one(due, [])

    async def _write_chunk(self) -> None:
        settlements = self._settlements[:_MAX_CHUNK]
        marks, self._marks = self._marks[:_MAX_CHUNK], self._marks[_MAX_CHUNK:]
        try:
            await self._write(settlements, marks)
        except DatabaseUnavailable as error:
            log.warning("recorder.waits", error=error.code, results=len(self._settlements))
            self._put_back(marks)
            await asyncio.sleep(_RETRY_S)
        except Exception:
            # The edge of this task: one bad item, whatever is wrong with it, must not hold up
            # the others, so each is tried on its own.
            log.exception("recorder.chunk_failed")
            await self._write_one_by_one(settlements, marks)

    async def _write(self, settlements: list[Settlement], marks: list[Mark]) -> None:
        claims = [claim for claim, _ in marks]
        written = [*(settlement.claim for settlement in settlements), *claims]
        waiting = self._waiting_spans.of(written)
        with database_spans.calling("record_settlements", waiting, len(written)):
            recorded = await record_and_mark(
                self._pool, self._worker_id, settlements, claims, self._policy
            )
        self._waiting_spans.forget(written)
        del self._settlements[: len(settlements)]
        for settlement in settlements:
            if settlement.fails_over and self._on_due_again is not None:
                self._on_due_again(settlement.claim)
        _answer(marks, {(claim.email_id, claim.fence): claim for claim in recorded.marked})
        if recorded.dead_letters:
            metrics.record_dead_letter("attempts_exhausted", recorded.dead_letters)

    async def _write_one_by_one(self, settlements: list[Settlement], marks: list[Mark]) -> None:
        for settlement in settlements:
            # The first of the list, which `_write` takes off where it succeeds.
            try:
                await self._write([settlement], [])
            except DatabaseUnavailable:
                self._settlements.append(self._settlements.pop(0))
            except Exception:
                log.exception("recorder.result_kept", email_id=str(settlement.claim.email_id))
                due_at_s = clock.monotonic_s() + _RETRY_REFUSED_S
                self._refused.append((due_at_s, self._settlements.pop(0)))
        for mark in marks:
            try:
                await self._write([], [mark])
            except DatabaseUnavailable:
                self._put_back([mark])
            except Exception:
                # Unmarked, the claim goes back to waiting, to be claimed anew.
                log.exception("recorder.mark_refused", email_id=str(mark[0].email_id))
                self._waiting_spans.forget([mark[0]])
                _answer([mark], {})

    def _put_back(self, marks: list[Mark]) -> None:
        if self._is_marking:
            self._marks = marks + self._marks
        else:
            _answer(marks, {})

    def _signal(self) -> None:
        self._idle.clear()
        self._work.set()


def _answer(marks: list[Mark], marked: dict[tuple[UUID, int], Claim]) -> None:
    """marked is by email and fence: two claims of one email may stand in one chunk."""
    for claim, future in marks:
        if not future.done():
            future.set_result(marked.get((claim.email_id, claim.fence)))
