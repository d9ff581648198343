"""What people do with a tenant's keys: list them, make one, revoke one; the audit log says who."""

import datetime as dt
from typing import cast
from uuid import UUID

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import KeyRing
from tallypost_core.names import tidy_name
from tallypost_domain.api_keys.errors import InvalidKeyName, TooManyAPIKeys, UnknownStream
from tallypost_domain.api_keys.models import APIKey
from tallypost_domain.api_keys.service import create_key, revoke_key
from tallypost_domain.api_keys.types import CreatedKey, KeyPermission
from tallypost_domain.audit import service as audit
from tallypost_domain.audit.types import Actor
from tallypost_domain.tenants.service import list_streams
from tallypost_providers.types import Mode

MAX_NAME_CHARS = 100
MAX_KEYS = 500
"""Working keys that a tenant may have before people can make no more."""

_MAX_LISTED = 1_000


class KeyView(Struct, frozen=True, kw_only=True):
    """A key as people see it: enough to recognise it, too little to use it."""

    id: UUID
    mode: Mode
    name: str
    permission: KeyPermission
    stream: str | None
    """Of emails that name none; None stands for `transactional`."""
    start: str
    """`tp_live_` and four characters."""
    last_four: str
    rate_limit_per_s: float | None
    """None: the tenant's."""
    created_at: dt.datetime
    revoked_at: dt.datetime | None


async def list_keys(
    session: AsyncSession, tenant_id: UUID, mode: Mode | None = None
) -> tuple[KeyView, ...]:
    """A tenant's keys, working ones first and the newest of them first; 1,000 at most."""
    statement = (
        select(
            APIKey.id,
            APIKey.mode,
            APIKey.name,
            APIKey.permission,
            APIKey.stream,
            APIKey.prefix,
            APIKey.last_four,
            APIKey.rate_limit_per_s,
            APIKey.created_at,
            APIKey.revoked_at,
        )
        .where(APIKey.tenant_id == tenant_id)
        .order_by(APIKey.revoked_at.is_not(None), APIKey.created_at.desc(), APIKey.id.desc())
        .limit(_MAX_LISTED)
    )
    if mode is not None:
        statement = statement.where(APIKey.mode == mode)
    return tuple(
        KeyView(
            id=row.id,
            mode=cast("Mode", row.mode),
            name=row.name,
            permission=cast("KeyPermission", row.permission),
            stream=row.stream,
            start=row.prefix,
            last_four=row.last_four,
            rate_limit_per_s=row.rate_limit_per_s,
            created_at=row.created_at,
            revoked_at=row.revoked_at,
        )
        for row in await session.execute(statement)
    )


async def create_for_person(
    session: AsyncSession,
    tenant_id: UUID,
    *,
    mode: Mode,
    name: str,
    permission: KeyPermission,
    stream: str | None,
    peppers: KeyRing,
    actor: Actor,
) -> CreatedKey:
    """Make a key and return it this once.

    Raises InvalidKeyName, UnknownStream, TooManyAPIKeys.
    """
    name = _require_name(name)
    if stream is not None and stream not in await list_streams(session, tenant_id):
        raise UnknownStream(field="stream")
    working = select(func.count(APIKey.id)).where(
        APIKey.tenant_id == tenant_id, APIKey.revoked_at.is_(None)
    )
    if (await session.execute(working)).scalar_one() >= MAX_KEYS:
        raise TooManyAPIKeys()
    key = await create_key(
        session,
        tenant_id,
        mode=mode,
        name=name,
        peppers=peppers,
        permission=permission,
        stream=stream,
    )
    await audit.record(
        session,
        tenant_id,
        "api_key.created",
        actor=actor,
        subject_kind="api_key",
        subject_id=key.id,
        changes={"mode": mode, "permission": permission},
    )
    return key


async def revoke_for_person(
    session: AsyncSession, tenant_id: UUID, key_id: UUID, *, actor: Actor
) -> None:
    """End a key; within a second no process accepts it. Revoking twice changes nothing.

    Raises APIKeyNotFound.
    """
    if not await revoke_key(session, tenant_id, key_id):
        return
    await audit.record(
        session,
        tenant_id,
        "api_key.revoked",
        actor=actor,
        subject_kind="api_key",
        subject_id=key_id,
    )


def _require_name(text: str) -> str:
    name = tidy_name(text, MAX_NAME_CHARS)
    if name is None:
        raise InvalidKeyName(field="name")
    return name
