"""Checks of tenants' accounts that somebody asked for: raw statements of the worker.

It logs in as tp_worker and names the tenants that it works for.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Pool, transaction
from tallypost_domain.routing.types import AccountStep

_DUE: Final = "SELECT * FROM list_due_account_checks($1, $2)"

# Longer than a check may take: should the worker die meanwhile, another one begins anew then.
_LEASE_S: Final = 90.0
_CLAIM: Final = """
    UPDATE provider_accounts p
    SET check_due_at = now() + make_interval(secs => $3)
    WHERE p.tenant_id = $1 AND p.id = $2 AND p.check_due_at <= now()
    RETURNING p.changed_at
"""
# Where its settings have changed since the check began, it is to be checked once more.
_WRITE: Final = """
    UPDATE provider_accounts p
    SET checked_at = now(), check_steps = $3,
        check_due_at = CASE WHEN p.changed_at > $4 THEN now() END
    WHERE p.tenant_id = $1 AND p.id = $2
"""


class AccountCheck(NamedTuple):
    """An account that is to be checked."""

    tenant_id: UUID
    account_id: UUID


async def list_due(
    pool: Pool, *, max_rows: int, without_tenants: Collection[UUID] = ()
) -> list[AccountCheck]:
    """What is to be checked now, the longest overdue first: one of each other tenant."""
    with translated():
        rows = await pool.fetch(_DUE, list(without_tenants), max_rows)
    return [AccountCheck(*row) for row in rows]


async def claim(pool: Pool, check: AccountCheck) -> dt.datetime | None:
    """When the settings that are to be checked were made; None where another worker does it."""
    async with transaction(pool, [check.tenant_id]) as connection:
        changed_at: dt.datetime | None = await connection.fetchval(_CLAIM, *check, _LEASE_S)
        return changed_at


async def record_check(
    pool: Pool, check: AccountCheck, steps: Sequence[AccountStep], changed_at: dt.datetime
) -> None:
    """Put down what a check of the settings of that time found."""
    async with transaction(pool, [check.tenant_id]) as connection:
        await connection.execute(_WRITE, *check, msgspec.to_builtins(list(steps)), changed_at)
