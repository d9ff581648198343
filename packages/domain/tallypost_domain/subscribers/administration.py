"""What an operator sees of subscribers and does about them; over all tenants, as tp_cli."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.subscribers.types import COUNT_LIMIT, SubscriberState

CHUNK: Final = 10_000
"""Rows that one call changes."""

# As `forget_event_subscriber` has it. Workers say every minute which subscribers they name, so it
# tells whether one is there. The 24 hours for which events are kept are longer on purpose: they are
# for workers that are away and come back, and whoever forgets says that none will. To wait for
# them would add rows with every email all day, for a subscriber that nobody feeds.
NAMED_LATELY_S: Final = 300.0
"""For how long after a worker last named a subscriber it is not forgotten."""


async def list_subscribers_all_tenants(session: AsyncSession) -> tuple[SubscriberState, ...]:
    """Every subscriber that a worker has named, by name; session is of no tenant."""
    statement = text("SELECT * FROM list_event_subscribers(:max_rows)")
    rows = await session.execute(statement, {"max_rows": COUNT_LIMIT})
    return tuple(SubscriberState(*row) for row in rows)


def is_named_lately(state: SubscriberState) -> bool:
    """Whether a worker may still name it, so that `forget_all_tenants` would drop nothing."""
    return state.seen_ago_s is not None and state.seen_ago_s <= NAMED_LATELY_S


async def retry_dead_all_tenants(session: AsyncSession, subscriber: str) -> int:
    """Let up to CHUNK events that were given up be due again; returns how many."""
    statement = text("SELECT retry_dead_event_deliveries(:subscriber, :max_rows)")
    values = {"subscriber": subscriber, "max_rows": CHUNK}
    count: int = (await session.execute(statement, values)).scalar_one()
    return count


async def forget_all_tenants(session: AsyncSession, subscriber: str) -> int | None:
    """Drop up to CHUNK events of a subscriber that no worker names any more; returns how many.

    0 means that nothing of it is left. None where a worker has named it lately.
    """
    statement = text("SELECT forget_event_subscriber(:subscriber, :max_rows)")
    values = {"subscriber": subscriber, "max_rows": CHUNK}
    count: int | None = (await session.execute(statement, values)).scalar_one()
    return count
