"""Where sending domains stand at accounts: what is to be asked, and what was answered.

Raw statements are the worker's, which logs in as tp_worker and names the tenants that it works for.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.ids import parse_id
from tallypost_domain.db.arrays import columns
from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Pool, transaction
from tallypost_domain.domains.models import Domain
from tallypost_domain.routing.models import AccountDomainRow
from tallypost_domain.routing.types import DomainRecord, StandingStatus, StandingView

_NEW: Final = "SELECT * FROM list_new_account_domains($1, $2, $3)"
_ADD: Final = """
    INSERT INTO account_domains (tenant_id, domain_id, account)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[])
    ON CONFLICT DO NOTHING
"""
_DUE: Final = "SELECT * FROM list_due_account_domains($1, $2)"
_DUE_OWN: Final = "SELECT * FROM list_due_own_account_domains($1, $2, $3)"

# Longer than one question may take: should the worker die meanwhile, another one asks then.
_LEASE_S: Final = 120.0
_CLAIM: Final = """
    UPDATE account_domains a
    SET check_due_at = now() + make_interval(secs => $4)
    FROM domains d
    WHERE a.tenant_id = $1 AND a.domain_id = $2 AND a.account = $3 AND a.check_due_at <= now()
      AND d.tenant_id = a.tenant_id AND d.id = a.domain_id
    RETURNING d.name, d.status, a.check_due_at
"""

# A record that was just made is found soon, and one that nobody makes costs a question an hour.
_FIRST_S: Final = 30.0
_LONGEST_S: Final = 3600.0
# What was verified is looked at again: keys change, and records are deleted.
_VERIFIED_S: Final = 6 * 3600.0
_BACKOFF: Final = f"least({_LONGEST_S}, {_FIRST_S} * power(1.5, least(a.checks, 20)))"
# Each of these only where nobody has asked for another look meanwhile: then what was found out is
# of settings that may have changed, and the pair stays due.
_WRITE: Final = f"""
    UPDATE account_domains a
    SET status = $5, records = $6, detail = $7, checked_at = now(),
        checks = CASE WHEN $5 = 'verified' THEN 0 ELSE a.checks + 1 END,
        check_due_at = now() + make_interval(secs => CASE
            WHEN $5 = 'verified' THEN {_VERIFIED_S} ELSE {_BACKOFF}
        END)
    WHERE a.tenant_id = $1 AND a.domain_id = $2 AND a.account = $3 AND a.check_due_at = $4
"""  # noqa: S608 - numbers
_NOT_SAID: Final = f"""
    UPDATE account_domains a
    SET detail = $5, checked_at = now(), checks = a.checks + 1,
        check_due_at = now() + make_interval(secs => {_BACKOFF})
    WHERE a.tenant_id = $1 AND a.domain_id = $2 AND a.account = $3 AND a.check_due_at = $4
"""  # noqa: S608 - numbers
_PUT_OFF: Final = f"""
    UPDATE account_domains a SET check_due_at = now() + make_interval(secs => {_LONGEST_S})
    WHERE a.tenant_id = $1 AND a.domain_id = $2 AND a.account = $3 AND a.check_due_at = $4
"""  # noqa: S608 - a number
_FORGET: Final = """
    DELETE FROM account_domains a
    WHERE a.tenant_id = $1 AND a.domain_id = $2 AND a.account = $3 AND a.check_due_at = $4
"""


class AccountDomain(NamedTuple):
    """A sending domain at an account."""

    tenant_id: UUID
    domain_id: UUID
    account: str


class ClaimedPair(NamedTuple):
    """A pair that this worker asks about."""

    pair: AccountDomain
    domain: str
    is_verified: bool
    """The tenant may send from the domain."""
    lease: dt.datetime
    """Until when; whoever wants another look meanwhile changes it."""


class NewStanding(Struct, frozen=True, kw_only=True):
    """What a provider said about a domain."""

    status: StandingStatus
    records: tuple[DomainRecord, ...] = ()
    detail: str = ""


async def add_new(
    pool: Pool, platform_accounts: Sequence[str], providers: Sequence[str], *, max_rows: int
) -> int:
    """Note domains that were verified, and accounts that were made, since; returns how many pairs.

    platform_accounts are those of the platform, and providers those of tenants' accounts, that have
    to know the domains that are sent from.
    """
    with translated():
        rows = await pool.fetch(_NEW, platform_accounts, providers, max_rows)
    if rows:
        pairs = [AccountDomain(*row) for row in rows]
        async with transaction(pool, {pair.tenant_id for pair in pairs}) as connection:
            await connection.execute(_ADD, *columns(pairs))
    return len(rows)


async def list_due(
    pool: Pool, platform_accounts: Sequence[str], *, max_rows_of_each: int
) -> list[AccountDomain]:
    """Pairs that these accounts are to be asked about now, of each the longest overdue first."""
    with translated():
        rows = await pool.fetch(_DUE, platform_accounts, max_rows_of_each)
    return [AccountDomain(*row) for row in rows]


async def list_due_own(
    pool: Pool, *, without_tenants: Collection[UUID], max_tenants: int, max_rows_of_each: int
) -> list[AccountDomain]:
    """Pairs that tenants' own accounts are to be asked about now: one account of each other tenant,
    and tenants and pairs that are longest overdue."""
    with translated():
        rows = await pool.fetch(_DUE_OWN, list(without_tenants), max_tenants, max_rows_of_each)
    return [AccountDomain(*row) for row in rows]


async def claim(pool: Pool, pair: AccountDomain) -> ClaimedPair | None:
    """The pair for this worker to ask about; None where another one does."""
    async with transaction(pool, [pair.tenant_id]) as connection:
        row = await connection.fetchrow(_CLAIM, *pair, _LEASE_S)
    if row is None:
        return None
    is_verified = row["status"] == "verified"
    return ClaimedPair(pair, row["name"], is_verified=is_verified, lease=row["check_due_at"])


async def record_standing(pool: Pool, claimed: ClaimedPair, standing: NewStanding) -> None:
    """Put down what the provider said; when it is asked again follows from it."""
    records = msgspec.to_builtins(standing.records)
    await _execute(pool, claimed, _WRITE, standing.status, records, standing.detail)


async def record_not_said(pool: Pool, claimed: ClaimedPair, detail: str) -> None:
    """Put down that the provider did not say: what was known stays."""
    await _execute(pool, claimed, _NOT_SAID, detail)


async def put_off(pool: Pool, claimed: ClaimedPair) -> None:
    """Look at a pair again in an hour that cannot be asked about here and now."""
    await _execute(pool, claimed, _PUT_OFF)


async def forget(pool: Pool, claimed: ClaimedPair) -> None:
    """Drop a pair whose account is gone."""
    await _execute(pool, claimed, _FORGET)


async def ask_again(session: AsyncSession, tenant_id: UUID, account_id: UUID) -> None:
    """Have a worker ask a tenant's own account about all its domains now."""
    await session.execute(
        update(AccountDomainRow)
        .where(AccountDomainRow.tenant_id == tenant_id, AccountDomainRow.account == str(account_id))
        .values(check_due_at=func.now())
    )


async def forget_account(session: AsyncSession, tenant_id: UUID, account_id: UUID) -> None:
    """Drop what a tenant's own account said; it is asked anew where it is still there."""
    await session.execute(
        delete(AccountDomainRow).where(
            AccountDomainRow.tenant_id == tenant_id, AccountDomainRow.account == str(account_id)
        )
    )


async def list_standings(
    session: AsyncSession, tenant_id: UUID, accounts: Collection[str] | None = None
) -> tuple[StandingView, ...]:
    """Where the tenant's domains stand, by domain and account; accounts narrows it to some."""
    row = AccountDomainRow
    statement = (
        select(row, Domain.name)
        .join(Domain, (Domain.tenant_id == row.tenant_id) & (Domain.id == row.domain_id))
        .where(row.tenant_id == tenant_id)
        .order_by(Domain.name, row.account)
    )
    if accounts is not None:
        statement = statement.where(row.account.in_(accounts))
    return tuple(
        StandingView(
            domain_id=found.domain_id,
            domain=name,
            account=found.account,
            status=msgspec.convert(found.status, StandingStatus),
            records=msgspec.convert(found.records, tuple[DomainRecord, ...]),
            detail=found.detail,
            checked_at=found.checked_at,
        )
        for found, name in await session.execute(statement)
    )


def leave_out_former(
    standings: Iterable[StandingView], platform: Collection[str]
) -> tuple[StandingView, ...]:
    """The standings without those at accounts that the platform has no more.

    platform names the accounts that it has. Rows of a former one stay, and want no records made.
    """
    return tuple(each for each in standings if each.account in platform or is_own(each))


def is_own(standing: StandingView) -> bool:
    """Whether it is about an account of the tenant's own, and not one of the platform's."""
    return parse_id(standing.account) is not None


async def _execute(pool: Pool, claimed: ClaimedPair, statement: str, *arguments: object) -> None:
    async with transaction(pool, [claimed.pair.tenant_id]) as connection:
        await connection.execute(statement, *claimed.pair, claimed.lease, *arguments)
