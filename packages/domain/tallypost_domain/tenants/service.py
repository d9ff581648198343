"""Making tenants and opening their data keys."""

from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import (
    DataKey,
    KeyRing,
    UnknownKeyError,
    WrappedKey,
    new_data_key,
    unwrap_data_key,
)
from tallypost_domain.tenants.errors import KeyMissing
from tallypost_domain.tenants.models import Stream, Tenant, TenantDataKey

log = structlog.get_logger()

DEFAULT_STREAM = "transactional"

# On the transactional lane a lost password reset is worse than a doubled one; on the bulk lane a
# doubled newsletter is worse than a late one.
_SEEDED_STREAMS = (
    (DEFAULT_STREAM, "transactional", "resend"),
    ("bulk", "bulk", "hold"),
)


async def create_tenant(
    session: AsyncSession,
    tenant_id: UUID,
    *,
    name: str,
    key_ring: KeyRing,
    rate_limit_per_s: float | None = None,
    monthly_quota: int | None = None,
) -> None:
    """Make a tenant with its data key and its two streams.

    session must be the new tenant's own: its id is made by the caller, before there is a row.
    """
    data_key = new_data_key(key_ring, tenant_id)
    session.add(
        Tenant(
            id=tenant_id,
            name=name,
            rate_limit_per_s=rate_limit_per_s,
            monthly_quota=monthly_quota,
        )
    )
    await session.flush()
    session.add(
        TenantDataKey(
            tenant_id=tenant_id, ring_key_name=data_key.key_name, wrapped_key=data_key.wrapped
        )
    )
    for stream, lane, on_unconfirmed in _SEEDED_STREAMS:
        session.add(
            Stream(tenant_id=tenant_id, name=stream, lane=lane, on_unconfirmed=on_unconfirmed)
        )
    await session.flush()


async def get_data_key(session: AsyncSession, tenant_id: UUID, key_ring: KeyRing) -> DataKey:
    """Open the tenant's data key.

    Raises KeyMissing where the key ring lost the key that wraps it, NoResultFound where the tenant
    has none.
    """
    statement = select(TenantDataKey).where(TenantDataKey.tenant_id == tenant_id)
    row = (await session.execute(statement)).scalar_one()
    try:
        return unwrap_data_key(key_ring, tenant_id, WrappedKey(row.ring_key_name, row.wrapped_key))
    except UnknownKeyError as error:
        log.exception("tenant.key_missing", key_name=error.key_name)
        raise KeyMissing from error


async def list_streams(session: AsyncSession, tenant_id: UUID) -> tuple[str, ...]:
    """The names of a tenant's streams."""
    statement = select(Stream.name).where(Stream.tenant_id == tenant_id).order_by(Stream.name)
    return tuple(await session.scalars(statement))
