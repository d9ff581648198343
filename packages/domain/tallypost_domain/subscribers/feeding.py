"""Claims due events for a subscriber and records what came of them; raw asyncpg, as tp_worker.

A claim moves the due time ahead and counts the attempt. Whoever dies with it leaves a row that is
due again. So an event may come twice, and never gets lost. The row also says that something is
under way: a claim that finds this knows of a worker that died, which the event may have brought
about.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final

from tallypost_core.plugin_events import StoredEvent
from tallypost_domain.db.arrays import columns
from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Pool, transaction
from tallypost_domain.subscribers.types import (
    ALONE,
    AMONG_OTHERS,
    COUNT_LIMIT,
    WORKER_LOST,
    ClaimedEvents,
    DeliveryKey,
    EventClaim,
    FailedDelivery,
)

LEASE_S: Final = 60.0
"""For how long a claimed event is this worker's; longer than a subscriber gets for it."""

# Another worker, which does not know it to hang, must not take the word back.
_REGISTER: Final = """
    INSERT INTO event_subscribers AS s (name, hanging_at)
    VALUES ($1, CASE WHEN $2 THEN now() END)
    ON CONFLICT (name) DO UPDATE SET
        seen_at = now(),
        hanging_at = CASE WHEN $2 THEN now() WHEN $2 IS NULL THEN s.hanging_at END
"""

_COUNT: Final = "SELECT waiting, dead FROM count_event_deliveries($1, $2)"

_LIST_DUE: Final = "SELECT * FROM list_due_event_deliveries($1, $2)"

# What another worker has locked or claimed meanwhile is left to it.
_CLAIM: Final = """
    WITH locked AS (
        SELECT d.tenant_id, d.subject_id, d.event_id, d.under_way
        FROM event_deliveries d
        JOIN unnest($2::uuid[], $3::uuid[], $4::uuid[]) AS w (tenant_id, subject_id, event_id)
            ON d.tenant_id = w.tenant_id AND d.subject_id = w.subject_id
            AND d.event_id = w.event_id
        WHERE d.subscriber = $1 AND d.state = 'waiting' AND d.due_at <= now()
          AND (d.under_way IS NULL) = ($6 = 'among_others')
        FOR UPDATE OF d SKIP LOCKED
    ), claimed AS (
        UPDATE event_deliveries d
        SET due_at = now() + make_interval(secs => $5), attempt = d.attempt + 1, under_way = $6
        FROM locked l
        WHERE d.tenant_id = l.tenant_id AND d.subscriber = $1
          AND d.subject_id = l.subject_id AND d.event_id = l.event_id
        RETURNING d.tenant_id, d.subject_id, d.event_id, d.attempt, d.due_at,
            l.under_way AS lost_as
    )
    SELECT c.tenant_id, c.subject_id, c.event_id, c.attempt, c.due_at, c.lost_as,
        v.mode, v.type, v.recipient_id, v.data, v.created_at
    FROM claimed c
    LEFT JOIN events v
        ON v.tenant_id = c.tenant_id AND v.subject_id = c.subject_id AND v.id = c.event_id
    ORDER BY c.event_id
"""

# Also where the lease is over: what was handled need not come again.
_FORGET_HANDLED: Final = """
    DELETE FROM event_deliveries d
    USING unnest($2::uuid[], $3::uuid[], $4::uuid[]) AS h (tenant_id, subject_id, event_id)
    WHERE d.tenant_id = h.tenant_id AND d.subscriber = $1
      AND d.subject_id = h.subject_id AND d.event_id = h.event_id
"""

# Only while the claim is still the last one.
_RECORD_FAILED: Final = """
    UPDATE event_deliveries d
    SET due_at = now() + make_interval(secs => coalesce(f.retry_in_s, 0)),
        attempt = d.attempt - CASE WHEN f.error IS NULL THEN 1 ELSE 0 END,
        state = CASE WHEN f.retry_in_s IS NULL THEN 'dead' ELSE 'waiting' END,
        under_way = f.lost_as,
        last_error = coalesce(f.error, d.last_error)
    FROM unnest(
        $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::text[], $7::float8[], $8::text[]
    ) AS f (tenant_id, subject_id, event_id, lease_until_at, error, retry_in_s, lost_as)
    WHERE d.tenant_id = f.tenant_id AND d.subscriber = $1
      AND d.subject_id = f.subject_id AND d.event_id = f.event_id
      AND d.due_at = f.lease_until_at AND d.state = 'waiting'
"""


async def register(pool: Pool, subscriber: str, *, is_hanging: bool | None) -> None:
    """Say that a worker names this subscriber: events of the next 24 hours are kept for it.

    is_hanging is None where this worker has nothing to say about that. Raises DatabaseUnavailable.
    """
    with translated():
        await pool.execute(_REGISTER, subscriber, is_hanging)


async def count_events(pool: Pool, subscriber: str) -> tuple[int, int]:
    """How many events wait and how many are dead, over all tenants, each counted to COUNT_LIMIT.

    Raises DatabaseUnavailable.
    """
    with translated():
        ((waiting, dead),) = await pool.fetch(_COUNT, subscriber, COUNT_LIMIT)
    return waiting, dead


async def claim_events(pool: Pool, subscriber: str, limit: int) -> ClaimedEvents:
    """Up to limit due events of any tenants, which may be under way at a time.

    They are the longest waiting ones, as far as the first whose last attempt ended with its worker.
    Two workers never hold one event at a time while its lease lasts. Raises DatabaseUnavailable.
    """
    listed = await _list_due(pool, subscriber, limit)
    ahead = tuple(takewhile(lambda row: not row["is_lost"], listed))
    claims = await _claim_listed(pool, subscriber, ahead, AMONG_OTHERS)
    return ClaimedEvents(
        claims,
        may_be_more=len(listed) == limit,
        is_lost_next=len(ahead) < len(listed),
    )


async def claim_lost_event(pool: Pool, subscriber: str) -> ClaimedEvents:
    """The longest waiting event where its last attempt ended with its worker, else none.

    It is to be fed while nothing else is under way. Raises DatabaseUnavailable.
    """
    listed = await _list_due(pool, subscriber, 1)
    lost = tuple(row for row in listed if row["is_lost"])
    return ClaimedEvents(await _claim_listed(pool, subscriber, lost, ALONE))


async def record_handled(pool: Pool, subscriber: str, handled: Sequence[DeliveryKey]) -> None:
    """Drop what was handled. May be repeated. Raises DatabaseUnavailable."""
    done = columns((key.tenant_id, key.subject_id, key.event_id) for key in handled)
    async with transaction(pool, {key.tenant_id for key in handled}) as connection:
        await connection.execute(_FORGET_HANDLED, subscriber, *done)


async def record_failed(pool: Pool, subscriber: str, failed: Sequence[FailedDelivery]) -> None:
    """Put off, give up or give back what failed. May be repeated. Raises DatabaseUnavailable."""
    rows = columns(map(_failure, failed))
    async with transaction(pool, {item.claim.key.tenant_id for item in failed}) as connection:
        await connection.execute(_RECORD_FAILED, subscriber, *rows)


# Any: rows of _LIST_DUE.
async def _list_due(pool: Pool, subscriber: str, limit: int) -> list[Any]:
    with translated():
        return list(await pool.fetch(_LIST_DUE, subscriber, limit))


# Any: the same.
async def _claim_listed(
    pool: Pool, subscriber: str, listed: Sequence[Any], under_way: str
) -> tuple[EventClaim, ...]:
    if not listed:
        return ()
    keys = columns((row["tenant_id"], row["subject_id"], row["event_id"]) for row in listed)
    async with transaction(pool, keys[0]) as connection:
        rows = await connection.fetch(_CLAIM, subscriber, *keys, LEASE_S, under_way)
    return tuple(map(_claim, rows))


# Any: a row of _CLAIM.
def _claim(row: Any) -> EventClaim:
    event = None
    if row["type"] is not None:
        event = StoredEvent(
            id=row["event_id"],
            tenant_id=row["tenant_id"],
            mode=row["mode"],
            type=row["type"],
            subject_id=row["subject_id"],
            recipient_id=row["recipient_id"],
            data=row["data"],
            created_at=row["created_at"],
        )
    key = DeliveryKey(row["tenant_id"], row["subject_id"], row["event_id"])
    return EventClaim(key, row["attempt"], row["due_at"], event, row["lost_as"])


def _failure(item: FailedDelivery) -> tuple[Any, ...]:
    key = item.claim.key
    # Where nothing was attempted now, the loss before is all that is known of the event still.
    lost_as = item.claim.lost_as if item.error in (None, WORKER_LOST) else None
    return (
        *(key.tenant_id, key.subject_id, key.event_id),
        *(item.claim.lease_until_at, item.error, item.retry_in_s, lost_as),
    )
