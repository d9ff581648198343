"""Which of the tenants' accounts workers ask nothing at the moment, and until when."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple
from uuid import UUID

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.db.arrays import columns
from tallypost_domain.db.pools import Pool, transaction

TroubleState = Literal["paused", "open", "half_open"]
"""It asked for a pause; too much has failed lately; one email tries whether it works again."""

# An account that stays as it is keeps the time since when. One that was deleted since has none.
_WRITE: Final = """
    INSERT INTO account_troubles AS t (tenant_id, account_id, worker_id, state, asked_again_at)
    SELECT c.tenant_id, c.account_id, w.id, c.state, now() + make_interval(secs => c.wait_s)
    FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::float8[])
        AS c (tenant_id, account_id, state, wait_s)
    JOIN workers w ON w.id = $1
    JOIN provider_accounts p ON p.tenant_id = c.tenant_id AND p.id = c.account_id
    ON CONFLICT (tenant_id, account_id, worker_id) DO UPDATE
    SET since = CASE WHEN t.state = excluded.state THEN t.since ELSE now() END,
        state = excluded.state, asked_again_at = excluded.asked_again_at
"""
_FORGET: Final = """
    DELETE FROM account_troubles t
    USING unnest($2::uuid[], $3::uuid[]) AS c (tenant_id, account_id)
    WHERE t.tenant_id = c.tenant_id AND t.account_id = c.account_id AND t.worker_id = $1
"""

# A worker that is dead sees nothing any more. What several see, the most telling one stands for.
_LIST: Final = text("""
    SELECT DISTINCT ON (t.account_id) t.account_id, t.state, t.since,
           extract(epoch FROM t.asked_again_at - now())::float8 AS wait_s
    FROM account_troubles t JOIN workers w ON w.id = t.worker_id
    WHERE t.tenant_id = :tenant_id AND w.beat_at > now() - interval '30 seconds'
    ORDER BY t.account_id, t.state = 'open' DESC, t.state = 'half_open' DESC, t.since
""")


class OwnAccount(NamedTuple):
    """A tenant's account."""

    tenant_id: UUID
    account_id: UUID


class Trouble(Struct, frozen=True, kw_only=True):
    """Why an account is asked nothing."""

    state: TroubleState
    since: dt.datetime
    wait_s: float | None
    """Until it may be asked again, at least 0; None where that is not known."""


async def write_troubles(
    pool: Pool,
    worker_id: UUID,
    troubles: Mapping[OwnAccount, tuple[TroubleState, float | None]],
    well: Iterable[OwnAccount],
) -> None:
    """Put down the troubles as this worker sees them, and forget those of accounts that are well.

    pool logs in as tp_worker. Before the worker has signed on nothing is put down. Raises
    DatabaseUnavailable.
    """
    rows = [(*account, state, wait_s) for account, (state, wait_s) in troubles.items()]
    cured = [*well]
    tenant_ids = {account.tenant_id for account in [*troubles, *cured]}
    async with transaction(pool, tenant_ids) as connection:
        if rows:
            await connection.execute(_WRITE, worker_id, *columns(rows))
        if cured:
            await connection.execute(_FORGET, worker_id, *columns(cured))


async def list_troubles(session: AsyncSession, tenant_id: UUID) -> dict[UUID, Trouble]:
    """The tenant's accounts that workers ask nothing at the moment, by id."""
    return {
        row.account_id: Trouble(
            state=row.state,
            since=row.since,
            wait_s=None if row.wait_s is None else max(0.0, row.wait_s),
        )
        for row in await session.execute(_LIST, {"tenant_id": tenant_id})
    }
