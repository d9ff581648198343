"""Looks at events and at what subscribers are still to be told of."""

import asyncpg

from tests.integration.queue.harness import Harness
from tests.support.database import SeededTenant


async def events_of(queue: Harness, tenant: SeededTenant) -> list[tuple[object, ...]]:
    """Keys of a tenant's events."""
    rows = await queue.fetch(tenant, "SELECT subject_id, id FROM events ORDER BY 1, 2")
    return [tuple(row) for row in rows]


async def deliveries_of(
    queue: Harness, tenant: SeededTenant, subscriber: str
) -> list[tuple[object, ...]]:
    """Keys of the events that a subscriber is still to be told of, of one tenant."""
    return [
        (row["subject_id"], row["event_id"]) for row in await rows_of(queue, tenant, subscriber)
    ]


async def rows_of(queue: Harness, tenant: SeededTenant, subscriber: str) -> list[asyncpg.Record]:
    """The whole rows of one tenant."""
    query = "SELECT * FROM event_deliveries WHERE subscriber = $1 ORDER BY subject_id, event_id"
    return await queue.fetch(tenant, query, subscriber)


async def age_subscriber(queue: Harness, name: str, hours: float) -> None:
    """Let a subscriber have been seen that long ago."""
    async with queue.database.connect("tp_worker") as connection:
        await connection.execute(
            "UPDATE event_subscribers SET seen_at = now() - make_interval(secs => $2) "
            "WHERE name = $1",
            name,
            hours * 3600,
        )


async def make_due(queue: Harness, tenant: SeededTenant, subscriber: str) -> None:
    """Let everything that waits be due now, as if time had passed."""
    async with queue.database.connect("tp_worker") as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('app.tenant_ids', $1, true)", f"{{{tenant.id}}}"
        )
        await connection.execute(
            "UPDATE event_deliveries SET due_at = now() - interval '1 second' "
            "WHERE subscriber = $1 AND state = 'waiting'",
            subscriber,
        )
