"""What people and programs do with a tenant's provider accounts; the audit log says who.

Settings come here judged: whoever calls has read them by the provider's own Struct.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import DecryptError, KeyRing
from tallypost_core.ids import new_id
from tallypost_core.names import tidy_name
from tallypost_domain.audit import service as audit
from tallypost_domain.audit.types import Actor
from tallypost_domain.routing import standings
from tallypost_domain.routing.account_secrets import open_secrets, seal_secrets
from tallypost_domain.routing.errors import (
    AccountInUse,
    AccountNameTaken,
    AccountNotFound,
    InvalidAccountName,
    TooManyAccounts,
)
from tallypost_domain.routing.models import ProviderAccountRow
from tallypost_domain.routing.routes import list_named_accounts, take_turn
from tallypost_domain.routing.types import AccountStep, AccountView, OpenedAccount
from tallypost_domain.tenants.service import get_data_key

MAX_NAME_CHARS: Final = 100
MAX_ACCOUNTS: Final = 20
"""Of one tenant."""

_NAME_KEY: Final = "uq_provider_accounts_tenant_id_name"
_ROW = ProviderAccountRow
_VIEWED = (
    _ROW.id,
    _ROW.name,
    _ROW.provider,
    _ROW.settings,
    _ROW.secret_names,
    _ROW.is_on,
    _ROW.created_at,
    _ROW.changed_at,
    _ROW.check_due_at,
    _ROW.checked_at,
    _ROW.check_steps,
)


class NewAccount(Struct, frozen=True, kw_only=True):
    """An account to be stored; settings and secrets as the provider's Struct has read them."""

    name: str
    provider: str
    settings: Mapping[str, object]
    secrets: Mapping[str, str]

    def __repr__(self) -> str:
        return f"NewAccount(provider={self.provider!r})"


class AccountChange(Struct, frozen=True, kw_only=True):
    """What is to be different; what is unset stays. Settings and secrets change together."""

    name: str | UnsetType = UNSET
    is_on: bool | UnsetType = UNSET
    settings: Mapping[str, object] | UnsetType = UNSET
    secrets: Mapping[str, str] | UnsetType = UNSET

    def __repr__(self) -> str:
        return "AccountChange()"


async def list_accounts(session: AsyncSession, tenant_id: UUID) -> tuple[AccountView, ...]:
    """A tenant's accounts by name."""
    statement = select(*_VIEWED).where(_ROW.tenant_id == tenant_id)
    rows = await session.execute(statement.order_by(func.lower(_ROW.name), _ROW.id))
    return tuple(map(_view, rows))


async def get_account(session: AsyncSession, tenant_id: UUID, account_id: UUID) -> AccountView:
    """One account. Raises AccountNotFound."""
    statement = select(*_VIEWED).where(_ROW.tenant_id == tenant_id, _ROW.id == account_id)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise AccountNotFound
    return _view(row)


async def open_account(
    session: AsyncSession, tenant_id: UUID, account_id: UUID, key_ring: KeyRing
) -> OpenedAccount:
    """One account with its secrets, locked until the transaction ends: for changing its settings.

    Of secrets that no longer open there are none: each has to be given again. Raises
    AccountNotFound, and KeyMissing where the tenant's data key cannot be opened.
    """
    row = await _lock(session, tenant_id, account_id)
    return OpenedAccount(
        id=row.id,
        tenant_id=tenant_id,
        provider=row.provider,
        settings=row.settings,
        secrets=await _find_secrets(session, row, key_ring) or {},
        changed_at=row.changed_at,
        is_on=row.is_on,
    )


async def create_account(
    session: AsyncSession, tenant_id: UUID, new: NewAccount, *, key_ring: KeyRing, actor: Actor
) -> UUID:
    """Store an account, and have it checked at once; returns its id. No route names it yet.

    Raises InvalidAccountName, AccountNameTaken, TooManyAccounts, KeyMissing.
    """
    name = _require_name(new.name)
    # So that two that are made at once are counted one after the other.
    await take_turn(session, tenant_id)
    count = select(func.count()).select_from(_ROW).where(_ROW.tenant_id == tenant_id)
    if (await session.execute(count)).scalar_one() >= MAX_ACCOUNTS:
        raise TooManyAccounts
    account_id = new_id()
    data_key = await get_data_key(session, tenant_id, key_ring)
    statement = (
        insert(_ROW)
        .values(
            tenant_id=tenant_id,
            id=account_id,
            name=name,
            provider=new.provider,
            settings=dict(new.settings),
            secrets=seal_secrets(data_key, tenant_id, account_id, new.secrets),
            secret_names=sorted(new.secrets),
            check_due_at=func.now(),
        )
        .on_conflict_do_nothing(index_elements=["tenant_id", "name"])
        .returning(_ROW.id)
    )
    if (await session.execute(statement)).one_or_none() is None:
        raise AccountNameTaken(field="name")
    await _audit(
        session, tenant_id, "provider_account.created", account_id, actor, provider=new.provider
    )
    return account_id


async def change_account(
    session: AsyncSession,
    tenant_id: UUID,
    account_id: UUID,
    change: AccountChange,
    *,
    key_ring: KeyRing,
    actor: Actor,
) -> None:
    """Change what differs of an account; other settings or secrets have it checked.

    Raises AccountNotFound, InvalidAccountName, AccountNameTaken, KeyMissing.
    """
    row = await _lock(session, tenant_id, account_id)
    values = _list_differences(row, change)
    if change.secrets is not UNSET and change.secrets != await _find_secrets(
        session, row, key_ring
    ):
        data_key = await get_data_key(session, tenant_id, key_ring)
        values["secrets"] = seal_secrets(data_key, tenant_id, account_id, change.secrets)
        values["secret_names"] = sorted(change.secrets)
    if not values:
        return
    told: dict[str, bool] = {
        name: True for name in ("name", "settings", "secrets") if name in values
    }
    if change.is_on is not UNSET and "is_on" in values:
        told["is_on"] = change.is_on
    is_another = bool(values.keys() & {"settings", "secrets"})
    if is_another:
        values |= {"changed_at": func.now(), "check_due_at": func.now()}
    await _write(session, row, values)
    if is_another:
        # What its provider said was said to another account, perhaps.
        await standings.forget_account(session, tenant_id, account_id)
    elif change.is_on is True:
        # While it was off nobody asked, and the next time was put off.
        await standings.ask_again(session, tenant_id, account_id)
    await _audit(session, tenant_id, "provider_account.changed", account_id, actor, **told)


async def delete_account(
    session: AsyncSession, tenant_id: UUID, account_id: UUID, *, actor: Actor
) -> None:
    """Delete an account with its secrets.

    Raises AccountNotFound, and AccountInUse where a route names it: mail would go another way
    unasked.
    """
    # Before the account itself, so that a route that is written meanwhile is seen or fails.
    await take_turn(session, tenant_id)
    if str(account_id) in await list_named_accounts(session, tenant_id):
        raise AccountInUse
    statement = delete(_ROW).where(_ROW.tenant_id == tenant_id, _ROW.id == account_id)
    if (await session.execute(statement.returning(_ROW.id))).one_or_none() is None:
        raise AccountNotFound
    await standings.forget_account(session, tenant_id, account_id)
    await _audit(session, tenant_id, "provider_account.deleted", account_id, actor)


async def request_check(session: AsyncSession, tenant_id: UUID, account_id: UUID) -> None:
    """Have a worker check an account, and what its provider says of the domains.

    Asking again while one is due or under way changes nothing. Raises AccountNotFound.
    """
    account = await get_account(session, tenant_id, account_id)
    if account.is_being_checked:
        return
    await session.execute(
        update(_ROW)
        .where(_ROW.tenant_id == tenant_id, _ROW.id == account_id, _ROW.check_due_at.is_(None))
        .values(check_due_at=func.now())
    )
    await standings.ask_again(session, tenant_id, account_id)


async def _lock(session: AsyncSession, tenant_id: UUID, account_id: UUID) -> ProviderAccountRow:
    statement = select(_ROW).where(_ROW.tenant_id == tenant_id, _ROW.id == account_id)
    row = (await session.execute(statement.with_for_update())).scalar_one_or_none()
    if row is None:
        raise AccountNotFound
    return row


async def _find_secrets(
    session: AsyncSession, row: ProviderAccountRow, key_ring: KeyRing
) -> dict[str, str] | None:
    """The secrets of a row; None where they no longer open."""
    data_key = await get_data_key(session, row.tenant_id, key_ring)
    try:
        return open_secrets(data_key, row.tenant_id, row.id, row.secrets)
    except DecryptError:
        return None


def _list_differences(row: ProviderAccountRow, change: AccountChange) -> dict[str, object]:
    """Columns that get another value, but for those of secrets. Raises InvalidAccountName."""
    asked: dict[str, object] = {}
    if change.name is not UNSET:
        asked["name"] = _require_name(change.name)
    if change.is_on is not UNSET:
        asked["is_on"] = change.is_on
    if change.settings is not UNSET:
        asked["settings"] = dict(change.settings)
    return {name: value for name, value in asked.items() if value != getattr(row, name)}


async def _write(
    session: AsyncSession, row: ProviderAccountRow, values: Mapping[str, object]
) -> None:
    statement = update(_ROW).where(_ROW.tenant_id == row.tenant_id, _ROW.id == row.id)
    try:
        async with session.begin_nested():
            await session.execute(statement.values(values))
    except IntegrityError as error:
        if _NAME_KEY not in str(error.orig):
            raise
        raise AccountNameTaken(field="name") from error


async def _audit(
    session: AsyncSession,
    tenant_id: UUID,
    action: str,
    account_id: UUID,
    actor: Actor,
    **changes: str | bool,
) -> None:
    await audit.record(
        session,
        tenant_id,
        action,
        actor=actor,
        subject_kind="provider_account",
        subject_id=account_id,
        changes=changes,
    )


def _view(row: Row[*tuple[Any, ...]]) -> AccountView:
    # Any: the columns differ in their types.
    return AccountView(
        id=row.id,
        name=row.name,
        provider=row.provider,
        settings=row.settings,
        secret_names=tuple(row.secret_names),
        is_on=row.is_on,
        created_at=row.created_at,
        changed_at=row.changed_at,
        is_being_checked=row.check_due_at is not None,
        checked_at=row.checked_at,
        check_steps=msgspec.convert(row.check_steps, tuple[AccountStep, ...]),
    )


def _require_name(text: str) -> str:
    name = tidy_name(text, MAX_NAME_CHARS)
    if name is None:
        raise InvalidAccountName(field="name")
    return name
