"""Stores submissions of many tenants in one transaction.

Raw asyncpg on the insert-only login. The order of what happens is also the order of locks, the
same in every process: idempotency keys, sorted; leases of quotas, sorted; then rows that nobody
else can want.

In the usual case everything is new and one call of the database does it all. Where a key was
claimed before, an address is suppressed or a lease was taken back, the same is done again step by
step, with decisions in between.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
from uuid import UUID

import asyncpg

from tallypost_core import clock
from tallypost_domain.db.errors import DatabaseUnavailable, translated
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.emails import statements
from tallypost_domain.emails.errors import ConcurrentIdempotentRequest, IdempotencyConflict
from tallypost_domain.emails.rows import EmailRows, build_rows
from tallypost_domain.emails.statements import (
    Claim,
    KeyRow,
    StoredAnswer,
    SuppressibleAddress,
)
from tallypost_domain.emails.submissions import Submission
from tallypost_domain.emails.types import Acceptance, Sender
from tallypost_domain.usage.quotas import Lease, spend

Answer = Acceptance | IdempotencyConflict | ConcurrentIdempotentRequest


# What comes with these says nothing of a commit that was sent before: a server that is shut down or
# crashes ends the connection at any moment.
_SAYS_NOTHING = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)


class StoredBefore(Exception):
    """Rows of these emails are there already: an earlier attempt was committed after all."""


class FateUnknown(DatabaseUnavailable):
    """The database does not answer; try again in a moment."""

    # A commit was sent and its answer did not come: the emails may be stored.


class LeasesRevoked(Exception):
    """Units that some of the submissions wanted to spend were taken back meanwhile."""

    def __init__(self, leases: Sequence[Lease]) -> None:
        self.leases = leases
        super().__init__(f"{len(leases)} leases were taken back")


class _NotAllNew(Exception):
    """Something about the submissions has to be decided."""


async def store(pool: Pool, submissions: Sequence[Submission], *, wait_ms: int) -> list[Answer]:
    """Store submissions and return the answer to each, in their order.

    One whose idempotency key belongs to an earlier request stores nothing and gets the answer of
    that request. wait_ms is how long each lock is waited for, such as that of a key that another
    transaction is about to claim. No two submissions may have the same key. Where this raises,
    nothing is stored, but for FateUnknown. Raises LeasesRevoked, StoredBefore, DatabaseUnavailable,
    and what the driver or Postgres has against a row.
    """
    try:
        await _store_new(pool, submissions, wait_ms)
    except _NotAllNew:
        return await _store_step_by_step(pool, submissions, wait_ms)
    return [s.acceptance for s in submissions]


async def find_answer(pool: Pool, claim: Claim) -> Acceptance | None:
    """The answer to an earlier request with this key, without waiting for one under way.

    Raises IdempotencyConflict, DatabaseUnavailable.
    """
    async with transaction(pool, [claim.row.tenant_id]) as connection:
        stored = (await statements.find_answers(connection, [claim.row])).get(claim.row)
    answer = _answer(stored, claim) if stored is not None else None
    if isinstance(answer, Exception):
        raise answer
    return answer


async def _store_new(pool: Pool, submissions: Sequence[Submission], wait_ms: int) -> None:
    """Store submissions of which all is new; raises _NotAllNew where that is not so."""
    rows = _build_rows(submissions, {})
    units = _bill(submissions, rows)
    is_sent = False
    try:
        with translated():
            async with pool.acquire() as connection:
                is_sent = True
                await statements.accept_emails(
                    connection,
                    list(_with_senders(submissions, rows)),
                    tenant_ids={s.sender.tenant_id for s in submissions},
                    wait_ms=wait_ms,
                    claims=_claims(submissions),
                    addresses=_addresses(submissions),
                    units=units,
                )
    except asyncpg.UniqueViolationError as error:
        raise StoredBefore from error
    except DatabaseUnavailable as error:
        if is_sent and not _is_answer(error.__cause__):
            raise _fate_unknown(submissions, error) from error
        raise
    except asyncpg.PostgresError as error:
        if error.sqlstate == statements.NOT_ALL_NEW:
            raise _NotAllNew from error
        raise


async def _store_step_by_step(
    pool: Pool, submissions: Sequence[Submission], wait_ms: int
) -> list[Answer]:
    """As `store`, with a look at what is there between the steps."""
    tenant_ids = {s.sender.tenant_id for s in submissions}
    is_committing = False
    try:
        async with transaction(pool, tenant_ids, lock_timeout_ms=wait_ms) as connection:
            repeats = await _claim_keys(connection, submissions)
            firsts = [s for s in submissions if s.claim is None or s.claim.row not in repeats]
            suppressed = await _find_suppressed(connection, firsts)
            rows = _build_rows(firsts, suppressed)
            revoked = await spend(connection, _bill(firsts, rows))
            if revoked:
                raise LeasesRevoked(revoked)
            await statements.accept_emails(
                connection,
                list(_with_senders(firsts, rows)),
                tenant_ids=tenant_ids,
                wait_ms=wait_ms,
            )
            is_committing = True
    except asyncpg.UniqueViolationError as error:
        raise StoredBefore from error
    except DatabaseUnavailable as error:
        if is_committing:
            raise _fate_unknown(submissions, error) from error
        raise
    return [
        repeats.get(s.claim.row, s.acceptance) if s.claim is not None else s.acceptance
        for s in submissions
    ]


def _is_answer(error: BaseException | None) -> bool:
    """True where it was the server that refused, so that it has stored nothing."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, _SAYS_NOTHING)


def _fate_unknown(submissions: Sequence[Submission], error: DatabaseUnavailable) -> FateUnknown:
    for submission in submissions:
        submission.may_be_stored = True
    return FateUnknown(retry_after_s=error.retry_after_s)


def _claims(submissions: Sequence[Submission]) -> list[tuple[Claim, Acceptance]]:
    """What is claimed, in the one order of all processes."""
    claims = [(s.claim, s.acceptance) for s in submissions if s.claim is not None]
    claims.sort(key=itemgetter(0))
    return claims


async def _claim_keys(
    connection: Connection, submissions: Sequence[Submission]
) -> dict[KeyRow, Answer]:
    """Claim the keys of submissions; the answers to those that others had claimed before."""
    claims = _claims(submissions)
    if not claims or await statements.claim_keys(connection, claims):
        return {}
    # A statement of its own: the one before does not see what was committed while it waited.
    stored = await statements.find_answers(connection, [claim.row for claim, _ in claims])
    return {
        claim.row: _answer(stored.get(claim.row), claim)
        for claim, acceptance in claims
        if stored.get(claim.row) != StoredAnswer(claim.fingerprint, acceptance)
    }


def _answer(stored: StoredAnswer | None, claim: Claim) -> Answer:
    if stored is None:
        # It has just reached its age and was forgotten.
        return ConcurrentIdempotentRequest(retry_after_s=1)
    if stored.fingerprint != claim.fingerprint:
        return IdempotencyConflict()
    return stored.answer


def _addresses(submissions: Sequence[Submission]) -> set[SuppressibleAddress]:
    return {
        SuppressibleAddress(s.sender.tenant_id, s.sender.mode, mark)
        for s in submissions
        for item in s.items
        for to in item.addressees
        for mark in to.hashes
    }


async def _find_suppressed(
    connection: Connection, submissions: Sequence[Submission]
) -> dict[tuple[UUID, str], set[bytes]]:
    """Hashes of suppressed addresses by tenant and mode."""
    suppressed: dict[tuple[UUID, str], set[bytes]] = defaultdict(set)
    for found in await statements.find_suppressed(connection, _addresses(submissions)):
        suppressed[(found.tenant_id, found.mode)].add(found.hash)
    return suppressed


def _build_rows(
    submissions: Sequence[Submission], suppressed: Mapping[tuple[UUID, str], Collection[bytes]]
) -> list[list[EmailRows]]:
    """The rows of each submission."""
    now = clock.utc_now()
    return [
        [
            build_rows(item, suppressed.get((s.sender.tenant_id, s.sender.mode), ()), now=now)
            for item in s.items
        ]
        for s in submissions
    ]


def _with_senders(
    submissions: Sequence[Submission], rows: Sequence[Sequence[EmailRows]]
) -> Iterator[tuple[Sender, EmailRows]]:
    for submission, of_one in zip(submissions, rows, strict=True):
        for row in of_one:
            yield submission.sender, row


def _bill(
    submissions: Sequence[Submission], rows: Sequence[Sequence[EmailRows]]
) -> dict[Lease, int]:
    """What is spent from each lease, by tenant, which is the one order of all processes."""
    units: Counter[Lease] = Counter()
    for submission, of_one in zip(submissions, rows, strict=True):
        if submission.reservation is not None:
            submission.billed = sum(row.billable for row in of_one)
            units[submission.reservation.lease] += submission.billed
    return {lease: units[lease] for lease in sorted(units, key=attrgetter("key"))}
