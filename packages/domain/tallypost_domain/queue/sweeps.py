"""Frees the rows of workers that died, without guessing what they had sent."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg
from msgspec import Struct

from tallypost_core.crypto import KeyRing
from tallypost_core.ids import new_id
from tallypost_domain.db.arrays import columns
from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.emails.lifecycle import PENDING, RecipientEvent
from tallypost_domain.queue.claims import LEASE_S, release_claims
from tallypost_domain.queue.records import record_and_mark
from tallypost_domain.queue.types import Attempt, Claim, RecipientChange, Settlement
from tallypost_domain.suppressions.service import address_hashes
from tallypost_providers.types import Outcome
from tallypost_resilience.retry import RetryPolicy

SWEEP_EVERY_S = 2.0

_CHUNK = 200
WORKER_LOST = "worker_lost"

_ABANDONED = """
    SELECT q.tenant_id, q.email_id, q.lane, q.fence, q.attempt, q.state, q.worker_id, q.due_at
    FROM send_queue q LEFT JOIN workers w ON w.id = q.worker_id
    WHERE (q.tenant_id, q.email_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
      AND q.worker_id IS NOT NULL
      AND (w.id IS NULL OR w.beat_at < now() - make_interval(secs => $3))
"""

_PENDING_RECIPIENTS = """
    SELECT r.tenant_id, r.email_id, r.id, r.mode, r.address
    FROM recipients r
    WHERE (r.tenant_id, r.email_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
      AND r.status = ANY ($3::text[])
"""

_SUPPRESSED_SINCE = """
    SELECT s.tenant_id, s.mode, s.address_hash, s.created_at
    FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS w (tenant_id, mode, address_hash)
    JOIN suppressions s ON s.tenant_id = w.tenant_id AND s.mode = w.mode
        AND s.address_hash = w.address_hash
"""

# A suppression is seen once it is committed, which is later than the time that it bears.
_COMMITTED_WITHIN = dt.timedelta(minutes=1)


class Swept(Struct, frozen=True):
    """What one sweep freed."""

    released: int
    """Rows that nothing had left from: due again at once."""
    unconfirmed: int
    """Rows that may have left: listed, and treated by their stream's policy."""
    is_more: bool = False
    """There may be others: this sweep freed as many as one may."""


_FORGET_WORKERS = "DELETE FROM workers WHERE beat_at < now() - interval '1 hour'"


async def sweep_abandoned(pool: Pool, policy: RetryPolicy, peppers: KeyRing) -> Swept:
    """Free up to 200 rows of dead workers.

    A row that was only claimed goes back to waiting. One that was being handed over gets an
    attempt with outcome `ambiguous` and phase `worker_lost`. It is about the recipients who may
    have been in the handover: not those who were suppressed before the row was due, since it was
    claimed, and they were looked up, only then.
    """
    with translated():
        listed = await pool.fetch("SELECT * FROM list_abandoned_rows($1)", _CHUNK)
        if not listed:
            # Nothing names a worker that was gone for so long; killed ones left their row.
            await pool.execute(_FORGET_WORKERS)
            return Swept(0, 0)
    keys = ([row["tenant_id"] for row in listed], [row["email_id"] for row in listed])
    async with transaction(pool, keys[0]) as connection:
        rows = await connection.fetch(_ABANDONED, *keys, LEASE_S)
        lost = [row for row in rows if row["state"] == "handing_over"]
        in_doubt = await _list_in_doubt(connection, lost, peppers)
    released = 0
    for worker_id in {row["worker_id"] for row in rows}:
        of_worker = [row for row in rows if row["worker_id"] == worker_id]
        claims = [_claim(row) for row in of_worker if row["state"] == "claimed"]
        await release_claims(pool, worker_id, claims)
        released += len(claims)
        settlements = [
            _worker_lost(row, in_doubt.get(row["email_id"], ()))
            for row in of_worker
            if row["state"] == "handing_over"
        ]
        await record_and_mark(pool, worker_id, settlements, [], policy)
    return Swept(released, len(lost), is_more=len(rows) == _CHUNK)


async def _list_in_doubt(
    connection: Connection, lost: Sequence[asyncpg.Record], peppers: KeyRing
) -> Mapping[UUID, Sequence[UUID]]:
    """By email, the recipients who may have been in its handover."""
    due_at = {row["email_id"]: row["due_at"] for row in lost}
    keys = ([row["tenant_id"] for row in lost], [*due_at])
    pending = await connection.fetch(_PENDING_RECIPIENTS, *keys, sorted(PENDING))
    hashes = {
        row["id"]: [
            (row["tenant_id"], row["mode"], hashed)
            for hashed in address_hashes(peppers, row["address"])
        ]
        for row in pending
    }
    wanted = {one for those in hashes.values() for one in those}
    found = await connection.fetch(_SUPPRESSED_SINCE, *columns(wanted)) if wanted else []
    since = {
        (row["tenant_id"], row["mode"], row["address_hash"]): row["created_at"] for row in found
    }
    in_doubt: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for row in pending:
        seen_by = due_at[row["email_id"]] - _COMMITTED_WITHIN
        if not any(one in since and since[one] < seen_by for one in hashes[row["id"]]):
            in_doubt[row["email_id"]].append(row["id"])
    return in_doubt


def _worker_lost(row: asyncpg.Record, recipient_ids: Sequence[UUID]) -> Settlement:
    return Settlement(
        claim=_claim(row),
        worker_id=row["worker_id"],
        attempt=Attempt(
            id=new_id(),
            number=row["attempt"],
            provider="unknown",
            account="unknown",
            outcome=Outcome.AMBIGUOUS,
            phase=WORKER_LOST,
            recipients=tuple(
                {"recipient_id": str(id_), "outcome": Outcome.AMBIGUOUS.value}
                for id_ in recipient_ids
            ),
            evidence={WORKER_LOST: str(row["worker_id"])},
            provider_message_id=None,
            duration_s=0.0,
        ),
        changes=tuple(
            RecipientChange(
                recipient_id=id_,
                event=RecipientEvent.UNCONFIRMED,
                detail="The worker process ended during the handover.",
                data={"outcome": Outcome.AMBIGUOUS.value, "phase": WORKER_LOST},
            )
            for id_ in recipient_ids
        ),
        only_if_current=True,
    )


def _claim(row: asyncpg.Record) -> Claim:
    return Claim(row["tenant_id"], row["email_id"], row["lane"], row["fence"], row["attempt"])
