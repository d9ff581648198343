"""What an operator sees of subscribers and does about them; over all tenants, as tp_cli."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.subscribers.types import COUNT_LIMIT, SubscriberState

CHUNK: Final = 10_000
"""Rows that one call changes."""


async def list_subscribers_all_tenants(session: AsyncSession) -> tuple[SubscriberState, ...]:
    """Every subscriber that a worker has named, by name; session is of no tenant."""
    statement = text("SELECT * FROM list_event_subscribers(:max_rows)")
    rows = await session.execute(statement, {"max_rows": COUNT_LIMIT})
    return tuple(SubscriberState(*row) for row in rows)


async def retry_dead_all_tenants(session: AsyncSession, subscriber: str) -> int:
    """Let up to CHUNK events that were given up be due again; returns how many."""
    statement = text("SELECT retry_dead_event_deliveries(:subscriber, :max_rows)")
    values = {"subscriber": subscriber, "max_rows": CHUNK}
    count: int = (await session.execute(statement, values)).scalar_one()
    return count


async def forget_all_tenants(session: AsyncSession, subscriber: str) -> int | None:
    """Drop up to CHUNK events of a subscriber that no worker names any more; returns how many.

    0 means that nothing of it is left. None where a worker has named it in the last 5 minutes.
    """
    statement = text("SELECT forget_event_subscriber(:subscriber, :max_rows)")
    values = {"subscriber": subscriber, "max_rows": CHUNK}
    count: int | None = (await session.execute(statement, values)).scalar_one()
    return count
