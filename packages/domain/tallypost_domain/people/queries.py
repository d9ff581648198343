"""SQL about people and their sessions.

The console's role reads no row of `people`: before a tenant is known it asks the lookup
functions, each an exact match that answers with one row at most.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.people.models import Membership, Person, Session
from tallypost_domain.people.permissions import Role
from tallypost_domain.people.types import Credentials, SignedInPerson, TenantRow
from tallypost_domain.tenants.models import Tenant

_FIND_PERSON = text("SELECT id, password_hash, tenant_id FROM find_person_by_email(:email)")
_FIND_SESSION = text(
    "SELECT person_id, name, email, is_operator, tenant_id, role FROM find_session(:hash)"
)
_LIST_TENANTS = text("SELECT id, name, status FROM list_tenants_for_operator()")


async def insert_person(
    session: AsyncSession,
    *,
    person_id: UUID,
    email: str,
    name: str,
    password_hash: str,
    is_operator: bool,
) -> bool:
    """Add a person; False where the address is taken."""
    inserted = await session.execute(
        postgresql_insert(Person)
        .values(
            id=person_id,
            email=email,
            name=name,
            password_hash=password_hash,
            is_operator=is_operator,
        )
        .on_conflict_do_nothing(index_elements=["email"])
        .returning(Person.id)
    )
    return inserted.scalar_one_or_none() is not None


async def upsert_membership(
    session: AsyncSession, tenant_id: UUID, person_id: UUID, role: Role
) -> None:
    """Give a person a role in the tenant, in place of another one."""
    await session.execute(
        postgresql_insert(Membership)
        .values(tenant_id=tenant_id, person_id=person_id, role=role.value)
        .on_conflict_do_update(index_elements=["tenant_id", "person_id"], set_={"role": role.value})
    )


async def find_credentials(session: AsyncSession, email: str) -> Credentials | None:
    """What signing in needs to know about an address; None where nobody has it."""
    row = (await session.execute(_FIND_PERSON, {"email": email})).one_or_none()
    if row is None:
        return None
    return Credentials(
        person_id=row.id, password_hash=row.password_hash, first_tenant_id=row.tenant_id
    )


async def insert_session(
    session: AsyncSession, *, token_hash: bytes, person_id: UUID, tenant_id: UUID | None
) -> None:
    """Store a new session; from now on its token signs in."""
    await session.execute(
        insert(Session).values(
            token_hash=token_hash, person_id=person_id, active_tenant_id=tenant_id
        )
    )


async def find_signed_in_person(session: AsyncSession, token_hash: bytes) -> SignedInPerson | None:
    """Whoever the session belongs to; None where it is unknown or over.

    The function behind it knows how long a session lives, and moves its last use.
    """
    row = (await session.execute(_FIND_SESSION, {"hash": token_hash})).one_or_none()
    if row is None:
        return None
    return SignedInPerson(
        id=row.person_id,
        name=row.name,
        email=row.email,
        is_operator=row.is_operator,
        tenant_id=row.tenant_id,
        role=None if row.role is None else Role(row.role),
    )


async def set_active_tenant(
    session: AsyncSession, tenant_id: UUID, token_hashes: Sequence[bytes]
) -> bool:
    """Let a session look at a tenant; False where there is no such session."""
    updated = await session.execute(
        update(Session)
        .where(Session.token_hash.in_(token_hashes))
        .values(active_tenant_id=tenant_id)
        .returning(Session.token_hash)
    )
    return updated.one_or_none() is not None


async def delete_session(session: AsyncSession, token_hashes: Sequence[bytes]) -> None:
    """End a session, if it is there."""
    await session.execute(delete(Session).where(Session.token_hash.in_(token_hashes)))


async def find_tenant(session: AsyncSession, tenant_id: UUID) -> TenantRow | None:
    """Name and state of the session's own tenant; None for any other."""
    statement = select(Tenant.id, Tenant.name, Tenant.status).where(Tenant.id == tenant_id)
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else TenantRow(id=row.id, name=row.name, status=row.status)


async def list_tenants_all_tenants(session: AsyncSession) -> list[TenantRow]:
    """Every tenant by name, through the function that exists for operators."""
    rows = await session.execute(_LIST_TENANTS)
    return [TenantRow(id=row.id, name=row.name, status=row.status) for row in rows]
