"""Claims due rows for a worker, fairly: a quota from each of the tenants it is given.

No query here walks the backlog, so the cost of a claim does not grow with it.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from tallypost_domain.db.arrays import columns
from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.queue.types import Claim

LEASE_S = 30.0
"""A worker whose last beat is older than this is dead and its rows are freed. The same number
stands in the SQL function list_abandoned_rows."""

BEAT_EVERY_S = 5.0

FIRST_FENCE_RELEASED = 1 << 31
"""Rows that were held, or sent again, have fences from here on; see `releases`."""

FIRST_FENCE_AGAIN = 1 << 32
"""Rows of emails that a person let be sent again have fences from here on; see `requeue_steps`."""

_BEAT = """
    INSERT INTO workers (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET beat_at = now()
"""

# A function of the database, because one call waits for the network once; see its migration.
_CLAIM = "SELECT * FROM claim_rows($1, $2, $3, $4)"

# Locked in the order that every writer of several rows keeps.
_RELEASE = """
    UPDATE send_queue q
    SET state = 'waiting', worker_id = NULL,
        due_at = coalesce(now() + make_interval(secs => $5), q.due_at)
    WHERE q.ctid = ANY (ARRAY(
        SELECT held.place
        FROM unnest($2::uuid[], $3::uuid[], $4::bigint[]) AS c (tenant_id, email_id, fence)
        CROSS JOIN LATERAL (
            SELECT q.ctid AS place
            FROM send_queue q
            WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.fence = c.fence
              AND q.state = 'claimed' AND q.worker_id = $1
            FOR UPDATE
        ) held
    ))
"""

_LIST_HELD = """
    SELECT q.tenant_id, q.email_id, q.lane, q.fence, q.attempt
    FROM send_queue q
    WHERE q.state = 'claimed' AND q.worker_id = $1
"""


async def beat(connection: Connection, worker_id: UUID) -> None:
    """Renew the lease of everything that this worker holds, and sign it on where it is new."""
    await connection.execute(_BEAT, worker_id)


async def sign_off(connection: Connection, worker_id: UUID) -> None:
    """Forget a worker that ends on purpose; what it still held is swept at once."""
    await connection.execute("DELETE FROM workers WHERE id = $1", worker_id)


async def list_due_tenants(pool: Pool, lane: str) -> list[UUID]:
    """Tenants with a row due now in the lane; its cost follows their number, not the backlog."""
    with translated():
        rows = await pool.fetch("SELECT list_due_tenants($1) AS tenant_id", lane)
    return [row["tenant_id"] for row in rows]


async def claim_for_sending(
    pool: Pool,
    worker_id: UUID,
    *,
    lane: str,
    tenant_ids: Sequence[UUID],
    quota: int,
) -> list[Claim]:
    """Take up to quota due rows of each tenant, oldest due first.

    A claimed row may be sent again without harm if the worker dies: nothing has left yet.
    """
    with translated():
        rows = await pool.fetch(_CLAIM, tenant_ids, lane, quota, worker_id)
    return [Claim(*row) for row in rows]


async def release_claims(
    pool: Pool, worker_id: UUID, claims: Sequence[Claim], *, due_in_s: float | None = None
) -> None:
    """Give claimed rows back unsent; rows that this worker no longer holds stay as they are.

    Without due_in_s they keep their turn.
    """
    if not claims:
        return
    async with transaction(pool, [claim.tenant_id for claim in claims]) as connection:
        keys = sorted((claim.tenant_id, claim.email_id, claim.fence) for claim in claims)
        await connection.execute(_RELEASE, worker_id, *columns(keys), due_in_s)


async def list_held(pool: Pool, worker_id: UUID, tenant_ids: Iterable[UUID]) -> list[Claim]:
    """Rows of these tenants that the worker holds and has not marked as leaving.

    After a claim of unknown fate this finds what the worker was given and never told about.
    """
    async with transaction(pool, tenant_ids) as connection:
        rows = await connection.fetch(_LIST_HELD, worker_id)
    return [Claim(*row) for row in rows]
