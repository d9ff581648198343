"""How provider accounts do: written by each worker as it sees them, read together for a page."""

import datetime as dt
import enum
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Pool
from tallypost_domain.queue.claims import LEASE_S

# An account that stays as it is keeps the time since when.
_WRITE: Final = """
    INSERT INTO account_states AS a (worker_id, account, provider, state, asked_again_at)
    SELECT w.id, $2, $3, $4, now() + make_interval(secs => $5)
    FROM workers w WHERE w.id = $1
    ON CONFLICT (worker_id, account) DO UPDATE
    SET since = CASE WHEN a.state = excluded.state THEN a.since ELSE now() END,
        state = excluded.state, asked_again_at = excluded.asked_again_at
"""

_LIST: Final = text("""
    SELECT a.account, a.provider, a.state, count(*)::integer AS workers, min(a.since) AS since,
           extract(epoch FROM max(a.asked_again_at) - now())::float8 AS wait_s
    FROM account_states a JOIN workers w ON w.id = a.worker_id
    WHERE w.beat_at > now() - make_interval(secs => :lease_s)
    GROUP BY a.account, a.provider, a.state
    ORDER BY a.account, a.state
""")


class AccountCondition(enum.StrEnum):
    """What stands between an account and the next email."""

    WELL = "well"
    PAUSED = "paused"
    """It asked for a pause."""
    OPEN = "open"
    """Its breaker: too much has failed lately, or it said that it takes nothing."""
    HALF_OPEN = "half_open"
    """Its breaker lets one email through, to see."""


class AccountState(Struct, frozen=True):
    """An account as one worker sees it."""

    account: str
    provider: str
    condition: AccountCondition
    wait_s: float | None = None
    """Until it may be asked again; None where it may be asked now."""


class SeenState(Struct, frozen=True):
    """An account as some of the workers see it."""

    account: str
    provider: str
    condition: AccountCondition
    workers: int
    since: dt.datetime
    """For the one that has seen it like this for the longest time."""
    wait_s: float | None


async def write_states(pool: Pool, worker_id: UUID, states: Sequence[AccountState]) -> None:
    """Put down how accounts do; pool logs in as tp_worker.

    Before the worker has signed on this does nothing. Raises DatabaseUnavailable.
    """
    rows = [
        (worker_id, state.account, state.provider, state.condition.value, state.wait_s)
        for state in states
    ]
    with translated():
        await pool.executemany(_WRITE, rows)


async def list_states(session: AsyncSession) -> tuple[SeenState, ...]:
    """All accounts as the workers that are alive see them, by name; session is of no tenant."""
    return tuple(
        SeenState(
            row.account,
            row.provider,
            AccountCondition(row.state),
            row.workers,
            row.since,
            None if row.wait_s is None else max(0.0, row.wait_s),
        )
        for row in await session.execute(_LIST, {"lease_s": LEASE_S})
    )
