"""Frees the rows of workers that died, without guessing what they had sent."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
from msgspec import Struct

from tallypost_core.ids import new_id
from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Pool, transaction
from tallypost_domain.emails.lifecycle import PENDING, RecipientEvent
from tallypost_domain.queue.claims import LEASE_S, release_claims
from tallypost_domain.queue.records import record_and_mark
from tallypost_domain.queue.types import Attempt, Claim, RecipientChange, Settlement
from tallypost_providers.types import Outcome
from tallypost_resilience.retry import RetryPolicy

SWEEP_EVERY_S = 2.0

_CHUNK = 200
WORKER_LOST = "worker_lost"

_ABANDONED = """
    SELECT q.tenant_id, q.email_id, q.lane, q.fence, q.attempt, q.state, q.worker_id
    FROM send_queue q LEFT JOIN workers w ON w.id = q.worker_id
    WHERE (q.tenant_id, q.email_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
      AND q.worker_id IS NOT NULL
      AND (w.id IS NULL OR w.beat_at < now() - make_interval(secs => $3))
"""

_PENDING_RECIPIENTS = """
    SELECT r.tenant_id, r.email_id, r.id
    FROM recipients r
    WHERE (r.tenant_id, r.email_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
      AND r.status = ANY ($3::text[])
"""


class Swept(Struct, frozen=True):
    """What one sweep freed."""

    released: int
    """Rows that nothing had left from: due again at once."""
    unconfirmed: int
    """Rows that may have left: listed, and treated by their stream's policy."""


_FORGET_WORKERS = "DELETE FROM workers WHERE beat_at < now() - interval '1 hour'"


async def sweep_abandoned(pool: Pool, policy: RetryPolicy) -> Swept:
    """Free up to 200 rows of dead workers.

    A row that was only claimed goes back to waiting. One that was being handed over gets an
    attempt with outcome `ambiguous` and phase `worker_lost`.
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
        recipients = await connection.fetch(_PENDING_RECIPIENTS, *keys, sorted(PENDING))
    released = 0
    for worker_id in {row["worker_id"] for row in rows}:
        claims = [
            _claim(row)
            for row in rows
            if row["worker_id"] == worker_id and row["state"] == "claimed"
        ]
        await release_claims(pool, worker_id, claims)
        released += len(claims)
    lost = [row for row in rows if row["state"] == "handing_over"]
    for row in lost:
        ids = [r["id"] for r in recipients if r["email_id"] == row["email_id"]]
        await record_and_mark(pool, row["worker_id"], [_worker_lost(row, ids)], [], policy)
    return Swept(released, len(lost))


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
