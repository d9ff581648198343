"""Gathers what arrives while the last of it is being written, to write it together.

While a flush is in flight the next one gathers, so an idle process adds no wait and a busy one
writes many requests by one commit. There is no timer: waiting for a while was slower at every
load, when measured on a prototype. What is not yet answered is bounded; beyond that a request is
told to come back.
"""

import asyncio
import contextvars
from collections import Counter, deque
from collections.abc import Coroutine, Sequence

from tallypost_core.clock import monotonic_s
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.emails.errors import AcceptOverloaded
from tallypost_domain.emails.limits import Limits
from tallypost_domain.emails.statements import KeyRow
from tallypost_domain.emails.storing import Answer, store
from tallypost_domain.emails.submissions import Submission
from tallypost_domain.emails.writing import Writer
from tallypost_domain.usage.quotas import Quotas
from tallypost_telemetry import database_spans, metrics, tracing


class GroupCommit:
    """Takes submissions on and settles each of them. One per process."""

    def __init__(self, pool: Pool, quotas: Quotas, limits: Limits) -> None:
        """pool logs in as tp_accept."""
        self._pool = pool
        self._limits = limits
        self._writer = Writer(pool, quotas, limits, self._settle)
        self._waiting: deque[Submission] = deque()
        self._large_waiting: deque[Submission] = deque()
        self._held = 0
        self._held_emails = 0
        self._held_bytes = 0
        self._flushes = 0
        self._large_in_flight = 0
        self._large_in_flight_bytes = 0
        self._is_woken = False
        self._by_key: dict[KeyRow, Submission] = {}
        # The event loop holds tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, row: KeyRow) -> Submission | None:
        """The submission with this key that is not settled yet."""
        return self._by_key.get(row)

    def submit(self, submission: Submission) -> None:
        """Take a submission on, whose key `find` does not know; its `wait` gives the answer.

        The answer is AcceptOverloaded where there is no room. Who submits may go away: what was
        taken on is written all the same.
        """
        emails, size_bytes = len(submission.items), submission.size_bytes
        if (
            self._held_emails + emails > self._limits.held_emails
            or self._held_bytes + size_bytes > self._limits.held_bytes
        ):
            submission.settle(AcceptOverloaded(retry_after_s=1))
            return
        if submission.claim is not None:
            self._by_key[submission.claim.row] = submission
        self._held += 1
        self._held_emails += emails
        self._held_bytes += size_bytes
        is_large = size_bytes > self._limits.large_bytes
        (self._large_waiting if is_large else self._waiting).append(submission)
        if not self._is_woken:
            # After what else has arrived by now, so that it comes along.
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._wake)

    async def close(self) -> None:
        """Return once everything that was taken on is settled."""
        while self._held:
            await asyncio.sleep(0)
            if self._tasks:
                await asyncio.wait(self._tasks)
            await self._writer.close()

    def _wake(self) -> None:
        self._is_woken = False
        while self._waiting and self._flushes < self._limits.flushes:
            self._flushes += 1
            self._start(self._flush(self._take_batch()))
        while self._large_waiting and self._has_room(self._large_waiting[0]):
            large = self._large_waiting.popleft()
            self._large_in_flight += 1
            self._large_in_flight_bytes += large.size_bytes
            self._start(self._flush_large(large))

    def _take_batch(self) -> list[Submission]:
        batch = [self._waiting.popleft()]
        emails, size_bytes = len(batch[0].items), batch[0].size_bytes
        while self._waiting:
            emails += len(self._waiting[0].items)
            size_bytes += self._waiting[0].size_bytes
            if emails > self._limits.flush_emails or size_bytes > self._limits.flush_bytes:
                break
            batch.append(self._waiting.popleft())
        return batch

    def _has_room(self, large: Submission) -> bool:
        if self._large_in_flight == 0:
            return True
        size_bytes = self._large_in_flight_bytes + large.size_bytes
        return (
            self._large_in_flight < self._limits.large_in_flight
            and size_bytes <= self._limits.large_in_flight_bytes
        )

    async def _flush(self, batch: list[Submission]) -> None:
        try:
            answers = await self._store(batch)
        except Exception as error:
            # The edge of a task: whatever went wrong, somebody waits for each of the batch.
            away = await self._writer.take_apart(batch, error)
            self._end_flush()
            self._refuse_waiting(away)
        else:
            # The next flush begins first: the database need not wait until all have their answers.
            self._end_flush()
            self._settle(batch, answers)

    def _end_flush(self) -> None:
        self._flushes -= 1
        self._wake()

    async def _flush_large(self, large: Submission) -> None:
        try:
            answers = await self._store([large])
        except Exception as error:
            # As above.
            self._refuse_waiting(await self._writer.take_apart([large], error))
        else:
            self._settle([large], answers)
        self._large_in_flight -= 1
        self._large_in_flight_bytes -= large.size_bytes
        self._wake()

    async def _store(self, batch: list[Submission]) -> Sequence[Answer]:
        started_s = monotonic_s()
        emails = sum(len(submission.items) for submission in batch)
        with database_spans.calling("accept_emails", _trace_contexts(batch), emails):
            answers = await store(self._pool, batch, wait_ms=self._limits.brief_wait_ms)
        metrics.record_flush(emails, monotonic_s() - started_s)
        return answers

    def _refuse_waiting(self, away: DatabaseUnavailable | None) -> None:
        """What waits for a database that is away is told at once; what comes later tries again."""
        if away is None:
            return
        waiting = [*self._waiting, *self._large_waiting]
        self._waiting.clear()
        self._large_waiting.clear()
        self._settle(waiting, [away] * len(waiting))

    def _settle(self, batch: Sequence[Submission], outcomes: Sequence[Answer | Exception]) -> None:
        accepted: Counter[tuple[str, str]] = Counter()
        for submission, outcome in zip(batch, outcomes, strict=True):
            if submission.claim is not None:
                del self._by_key[submission.claim.row]
            self._held -= 1
            self._held_emails -= len(submission.items)
            self._held_bytes -= submission.size_bytes
            submission.settle(outcome)
            if submission.is_stored:
                accepted.update((submission.sender.mode, i.origin.lane) for i in submission.items)
        for (mode, lane), count in accepted.items():
            metrics.record_accepted(mode, lane, count)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        # It serves many requests, so it must not log under the ids of the one that began it.
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _trace_contexts(batch: Sequence[Submission]) -> list[str]:
    """Of the accepting spans that wait for a batch."""
    if not tracing.is_on():
        return []
    return [context for s in batch if (context := s.trace_context) is not None]
