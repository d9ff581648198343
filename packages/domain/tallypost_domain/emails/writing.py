"""Takes apart submissions that could not be written together, and writes each.

One bad row, one slow twin or one revoked lease fails nobody else: what failed together is written
again one by one, under the same ids. So whatever an attempt left behind is recognised by the next.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Sequence

import asyncpg
import structlog

from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.emails.errors import AcceptOverloaded, ConcurrentIdempotentRequest
from tallypost_domain.emails.limits import Limits
from tallypost_domain.emails.storing import Answer, FateUnknown, LeasesRevoked, StoredBefore, store
from tallypost_domain.emails.submissions import Submission
from tallypost_domain.usage.quotas import Quotas

# Units that are taken back go to somebody who spends them; so often in a row means overload.
_MOST_ATTEMPTS = 10

log = structlog.get_logger()

Settle = Callable[[Sequence[Submission], Sequence[Answer | Exception]], None]


class Writer:
    """Settles each submission that it is given, sooner or later."""

    def __init__(self, pool: Pool, quotas: Quotas, limits: Limits, settle: Settle) -> None:
        """pool logs in as tp_accept; settle is called once for each submission."""
        self._pool = pool
        self._quotas = quotas
        self._limits = limits
        self._settle = settle
        self._apart = asyncio.Semaphore(limits.apart)
        self._patient = asyncio.Semaphore(limits.patient)
        # The event loop holds tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    async def take_apart(
        self, batch: Sequence[Submission], error: Exception
    ) -> DatabaseUnavailable | None:
        """Take care of each submission after error kept them from being stored together.

        Returns before those are settled that have to wait for something. Returns an error where
        the database is away.
        """
        log.warning("accept.flush_failed", error=type(error).__name__, requests=len(batch))
        if _is_away(error):
            return await self._write_each(batch, error)
        suspects, others = _divide(batch, error)
        self._start(self._write_apart(suspects))
        if not others:
            return None
        try:
            answers = await store(self._pool, others, wait_ms=self._limits.brief_wait_ms)
        except Exception as again:
            # The edge of a task: whatever went wrong, somebody waits for each of them.
            return await self.take_apart(others, again)
        self._settle(others, answers)
        return None

    async def close(self) -> None:
        """Return once all that was given is settled."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _write_each(
        self, batch: Sequence[Submission], error: Exception | None = None
    ) -> DatabaseUnavailable | None:
        """Write one by one what failed together; gives up at once where the database is away."""
        for index, submission in enumerate(batch):
            try:
                # One that hangs would hang again, and each try would take as long.
                if error is not None and _is_silence(error):
                    raise error
                await self._write_one(submission, wait_ms=self._limits.brief_wait_ms)
            except DatabaseUnavailable as away:
                self._settle(batch[index:], [away] * (len(batch) - index))
                return away
        return None

    async def _write_apart(self, batch: Sequence[Submission]) -> None:
        async with self._apart:
            await self._write_each(batch)

    async def _write_patiently(self, submission: Submission) -> None:
        async with self._patient:
            try:
                await self._write_one(submission, wait_ms=self._limits.patient_wait_ms)
            except DatabaseUnavailable as error:
                self._settle([submission], [error])

    async def _write_one(self, submission: Submission, *, wait_ms: int) -> None:
        """Write and settle one; raises DatabaseUnavailable where the database is away."""
        outcome: Answer | Exception
        try:
            outcome = await self._store_one(submission, wait_ms=wait_ms)
        except DatabaseUnavailable as error:
            if not _is_blocked(error):
                raise
            if wait_ms < self._limits.patient_wait_ms:
                self._start(self._write_patiently(submission))
                return
            is_twin = submission.claim is not None
            outcome = ConcurrentIdempotentRequest(retry_after_s=1) if is_twin else error
        except Exception as error:
            # As in `take_apart`.
            outcome = error
        self._settle([submission], [outcome])

    async def _store_one(self, submission: Submission, *, wait_ms: int) -> Answer:
        for _ in range(_MOST_ATTEMPTS):
            was_unknown = submission.may_be_stored
            try:
                (answer,) = await store(self._pool, [submission], wait_ms=wait_ms)
            except StoredBefore:
                return submission.acceptance
            except FateUnknown:
                if was_unknown:
                    raise
            except LeasesRevoked:
                units = submission.reservation.units if submission.reservation else 0
                submission.reservation = await self._quotas.reserve(
                    submission.sender.tenant_id, units
                )
            else:
                return answer
        raise AcceptOverloaded(retry_after_s=1)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        # It outlives the request that began it, and must not log under its ids.
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _divide(
    batch: Sequence[Submission], error: Exception
) -> tuple[Sequence[Submission], Sequence[Submission]]:
    """Those that may have failed the others, and the others."""
    if isinstance(error, LeasesRevoked):
        suspects = [s for s in batch if s.reservation and s.reservation.lease in error.leases]
    elif _is_blocked(error):
        suspects = [s for s in batch if s.claim is not None]
    else:
        suspects = list(batch)
    others = [s for s in batch if s not in suspects]
    return (suspects, others) if suspects else (others, ())


def _is_blocked(error: BaseException) -> bool:
    """True where a statement waited too long for another transaction."""
    return isinstance(error.__cause__, asyncpg.LockNotAvailableError)


def _is_away(error: BaseException) -> bool:
    if not isinstance(error, DatabaseUnavailable):
        return False
    # Of two transactions that wait for each other one is ended: no reason to think that.
    undone = (asyncpg.LockNotAvailableError, asyncpg.TransactionRollbackError)
    return not isinstance(error.__cause__, undone)


def _is_silence(error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(cause, TimeoutError) or (cause is not None and _is_silence(cause))
