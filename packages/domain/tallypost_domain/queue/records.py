"""Records settlements and marks the next handovers: usually one call of the database for a chunk.

What a settlement does is decided on the email as its worker loaded it, and every write names what
it expects to find. Where something else is found, nothing is written, and the chunk is decided
anew on rows that are locked first, in the order (tenant, email, recipient) that every writer
keeps. A worker whose lease is over changes no row that another holds: its result is put on
record as late.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from tallypost_domain.db.arrays import columns
from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.queue import record_statements as sql
from tallypost_domain.queue.decisions import QueueAction, decide
from tallypost_domain.queue.record_statements import Key, RowsChanged, bounds
from tallypost_domain.queue.record_writes import Decided, changes_to_write
from tallypost_domain.queue.types import Claim, Settlement, StoredEmail
from tallypost_resilience.retry import RetryPolicy


class Recorded(Struct, frozen=True):
    """What a chunk did."""

    marked: tuple[Claim, ...]
    """Claims that may go to the wire now; their `attempt` counts this handover."""
    dead_letters: int
    """Recipients that failed because attempts are used up."""


async def record_and_mark(
    pool: Pool,
    worker_id: UUID,
    settlements: Sequence[Settlement],
    claims: Sequence[Claim],
    policy: RetryPolicy,
) -> Recorded:
    """Write what happened, and mark claims as about to leave.

    A claim that is not in `marked` is no longer this worker's and must not be sent. Calling this
    again with the same settlements, after a commit of unknown fate, changes nothing.
    """
    tenants = {settlement.claim.tenant_id for settlement in settlements}
    tenants.update(claim.tenant_id for claim in claims)
    if not tenants:
        return Recorded((), 0)
    decided = _decide_as_loaded(settlements, policy)
    if decided is not None:
        recorded = await _write_at_once(pool, worker_id, tenants, decided, claims)
        if recorded is not None:
            return recorded
    async with transaction(pool, tenants) as connection:
        decided = await _decide_under_locks(connection, settlements, claims, policy)
        return await _write(connection, worker_id, tenants, decided, claims)


def _decide_as_loaded(
    settlements: Sequence[Settlement], policy: RetryPolicy
) -> list[Decided] | None:
    """The decisions on the emails as they were loaded; None where those do not suffice."""
    if len({settlement.claim.email_id for settlement in settlements}) < len(settlements):
        return None
    decided = []
    for settlement in settlements:
        stored = settlement.as_loaded
        if stored is None:
            return None
        item = Decided(settlement, stored, decide(settlement, stored, policy))
        # The roll-up depends on recipients whose status is not written here, and so not checked.
        is_checked = len(item.decision.statuses) == len(stored.statuses)
        if not (is_checked or _only_makes_due(item)):
            return None
        decided.append(item)
    return decided


def _only_makes_due(item: Decided) -> bool:
    """Whether it writes nothing but a queue row that is to be claimed again.

    Then it does not matter that the recipients are not checked: whatever became of them, the next
    claim loads them anew. A row that ends or is parked has no next claim.
    """
    decision = item.decision
    return (
        decision.action in (QueueAction.RETRY, QueueAction.RELEASE)
        and item.settlement.attempt is None
        and not decision.statuses
        and not decision.applied
        and not decision.doubled
        and decision.email_status is item.stored.status
    )


async def _write_at_once(
    pool: Pool,
    worker_id: UUID,
    tenant_ids: Collection[UUID],
    decided: Sequence[Decided],
    claims: Sequence[Claim],
) -> Recorded | None:
    """One round trip; None where nothing was written, as rows are not as expected."""
    with translated():
        async with pool.acquire() as connection:
            try:
                return await _write(connection, worker_id, tenant_ids, decided, claims)
            except RowsChanged:
                # Recorded before, late, or changed meanwhile: locks will tell which.
                return None


async def _write(
    connection: Connection,
    worker_id: UUID,
    tenant_ids: Collection[UUID],
    decided: Sequence[Decided],
    claims: Sequence[Claim],
) -> Recorded:
    changes = changes_to_write(decided, worker_id, claims)
    marked = await sql.record(connection, tenant_ids, changes)
    return Recorded(
        tuple(
            replace(claim, attempt=claim.attempt + 1)
            for claim in claims
            if (claim.email_id, claim.fence) in marked
        ),
        sum(len(item.decision.gave_up) for item in decided),
    )


async def _decide_under_locks(
    connection: Connection,
    settlements: Sequence[Settlement],
    claims: Sequence[Claim],
    policy: RetryPolicy,
) -> list[Decided]:
    wanted = [_key(settlement.claim) for settlement in settlements]
    keys = columns(sorted({*wanted, *map(_key, claims)}))
    rows = _by_key(await connection.fetch(sql.LOCK_QUEUE_ROWS, *keys))
    if not settlements:
        return []
    known = await _recorded_attempts(connection, settlements)
    keys, between = columns(wanted), bounds([email_id for _, email_id in wanted])
    emails = _by_key(await connection.fetch(sql.LOCK_EMAILS, *keys, *between))
    statuses: dict[Key, dict[UUID, RecipientStatus]] = defaultdict(dict)
    for row in await connection.fetch(sql.LOCK_RECIPIENTS, *keys, *between):
        key = (row["tenant_id"], row["email_id"])
        statuses[key][row["id"]] = RecipientStatus(row["status"])
    decided = []
    for settlement in settlements:
        if settlement.attempt is not None and settlement.attempt.id in known:
            continue
        key = _key(settlement.claim)
        stored = _stored(settlement, rows.get(key), emails[key], statuses[key])
        if settlement.only_if_current and not stored.is_current:
            continue
        decision = decide(settlement, stored, policy)
        # Two settlements of one email may stand in one chunk; the second sees the first's work.
        statuses[key].update(decision.statuses)
        decided.append(Decided(settlement, stored, decision))
    return decided


def _stored(
    settlement: Settlement,
    row: asyncpg.Record | None,
    email: asyncpg.Record,
    statuses: Mapping[UUID, RecipientStatus],
) -> StoredEmail:
    is_current = (
        row is not None
        and row["worker_id"] == settlement.worker_id
        and row["fence"] == settlement.claim.fence
    )
    return StoredEmail(
        mode=email["mode"],
        on_unconfirmed=email["on_unconfirmed"],
        attempts_begun=row["attempt"] if row is not None else 0,
        is_current=is_current,
        status=RecipientStatus(email["status"]),
        statuses=dict(statuses),
    )


async def _recorded_attempts(
    connection: Connection, settlements: Sequence[Settlement]
) -> set[UUID]:
    attempts = [
        (s.claim.tenant_id, s.claim.email_id, s.attempt.id)
        for s in settlements
        if s.attempt is not None
    ]
    if not attempts:
        return set()
    rows = await connection.fetch(
        sql.FIND_ATTEMPTS,
        *columns(attempts),
        *bounds([email_id for _, email_id, _ in attempts]),
    )
    return {row["id"] for row in rows}


def _by_key(rows: Sequence[asyncpg.Record]) -> dict[Key, asyncpg.Record]:
    return {(row["tenant_id"], row["email_id"]): row for row in rows}


def _key(claim: Claim) -> Key:
    return claim.tenant_id, claim.email_id
