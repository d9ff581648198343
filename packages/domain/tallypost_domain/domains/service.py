"""Sending domains and their DKIM keys."""

from uuid import UUID

from msgspec import Struct
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import Context, DataKey, encrypt
from tallypost_core.ids import new_id
from tallypost_domain.domains.models import DKIMKeyRow, Domain


class SendingDomain(Struct, frozen=True):
    """A domain of a tenant, as lists show it."""

    id: UUID
    name: str
    """Lower case, in ASCII form."""
    is_verified: bool


async def list_domains(session: AsyncSession, tenant_id: UUID) -> tuple[SendingDomain, ...]:
    """All domains of a tenant by name."""
    statement = select(Domain.id, Domain.name, Domain.status).where(Domain.tenant_id == tenant_id)
    rows = await session.execute(statement.order_by(Domain.name))
    return tuple(SendingDomain(row.id, row.name, row.status == "verified") for row in rows)


async def add_domain(session: AsyncSession, tenant_id: UUID, name: str) -> UUID:
    """Add a domain, still unverified; name is in lower-case ASCII form. Returns its id."""
    domain_id = new_id()
    session.add(Domain(tenant_id=tenant_id, id=domain_id, name=name, status="pending"))
    await session.flush()
    return domain_id


async def find_verified_domain_id(session: AsyncSession, tenant_id: UUID, name: str) -> UUID | None:
    """The id of the tenant's verified domain of that name; None where it may not send from it."""
    statement = select(Domain.id).where(
        Domain.tenant_id == tenant_id, Domain.name == name, Domain.status == "verified"
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def mark_verified(session: AsyncSession, tenant_id: UUID, domain_id: UUID) -> None:
    """Let the tenant send from the domain.

    Raises IntegrityError where another tenant has verified the same name.
    """
    await session.execute(
        update(Domain)
        .where(Domain.tenant_id == tenant_id, Domain.id == domain_id)
        .values(status="verified", verified_at=func.now())
    )


async def create_dkim_key(
    session: AsyncSession,
    tenant_id: UUID,
    domain_id: UUID,
    *,
    selector: str,
    algorithm: str,
    private_key: bytes,
    public_key: str,
    data_key: DataKey,
) -> UUID:
    """Store a signing key, encrypted for this very row; private_key is PKCS#8 DER."""
    key_id = new_id()
    session.add(
        DKIMKeyRow(
            tenant_id=tenant_id,
            id=key_id,
            domain_id=domain_id,
            selector=selector,
            algorithm=algorithm,
            private_key=encrypt(data_key, private_key, private_key_context(tenant_id, key_id)),
            public_key=public_key,
        )
    )
    await session.flush()
    return key_id


def private_key_context(tenant_id: UUID, key_id: UUID) -> Context:
    """What an encrypted signing key is bound to."""
    return Context(tenant_id=tenant_id, table="dkim_keys", column="private_key", row_id=key_id)
