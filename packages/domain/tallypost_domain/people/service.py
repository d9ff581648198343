"""People, what they may do, and how they sign in and out."""

import re
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import KeyRing, hash_candidates, hash_secret, new_token
from tallypost_core.ids import new_id
from tallypost_domain.audit import service as audit
from tallypost_domain.audit.types import Actor
from tallypost_domain.db.sessions import SessionMaker, system_session
from tallypost_domain.people import queries
from tallypost_domain.people.errors import (
    InvalidCredentials,
    InvalidEmailAddress,
    PersonExists,
    SessionEnded,
    TenantNotFound,
)
from tallypost_domain.people.passwords import hash_password, verify_password
from tallypost_domain.people.permissions import Role
from tallypost_domain.people.types import SignedInPerson, TenantRow

_TOKEN_LENGTH = 43

# Enough to find a slip of the finger; whether an address takes mail, only mail can tell.
_PART = r"[^\s@\x00-\x1f\x7f\ud800-\udfff]"
_ADDRESS = re.compile(rf"{_PART}{{1,64}}@{_PART}{{1,255}}")


async def create_person(
    session: AsyncSession, *, email: str, name: str, password: str, is_operator: bool = False
) -> UUID:
    """Make somebody who can sign in; a member of no tenant yet. Returns the new id.

    Raises InvalidEmailAddress, PasswordTooShort, PersonExists.
    """
    address = _require_address(email)
    person_id = new_id()
    is_new = await queries.insert_person(
        session,
        person_id=person_id,
        email=address,
        name=name,
        password_hash=await hash_password(password),
        is_operator=is_operator,
    )
    if not is_new:
        raise PersonExists(field="email")
    return person_id


async def add_member(session: AsyncSession, tenant_id: UUID, person_id: UUID, role: Role) -> None:
    """Give a person a role in a tenant; a new one takes the place of the old one."""
    await queries.upsert_membership(session, tenant_id, person_id, role)


async def sign_in(sessions: SessionMaker, *, email: str, password: str, peppers: KeyRing) -> str:
    """Begin a session and return its token, which is stored nowhere.

    A wrong password and an unknown address are one error and take the same time. The database is
    not held while the password is verified. Raises InvalidCredentials.
    """
    address = _find_address(email)
    credentials = None
    if address is not None:
        async with system_session(sessions) as session:
            credentials = await queries.find_credentials(session, address)
    password_hash = None if credentials is None else credentials.password_hash
    if not await verify_password(password_hash, password) or credentials is None:
        raise InvalidCredentials()
    token = new_token()
    async with system_session(sessions) as session:
        await queries.insert_session(
            session,
            token_hash=hash_secret(peppers, token),
            person_id=credentials.person_id,
            tenant_id=credentials.first_tenant_id,
        )
    return token


async def find_session(
    sessions: SessionMaker, token: str, peppers: KeyRing
) -> SignedInPerson | None:
    """Whoever presents this token; None where it is malformed, unknown or over.

    A session ends 12 hours after its last use, 14 days after its begin at the latest.
    """
    if len(token) != _TOKEN_LENGTH:
        return None
    async with system_session(sessions) as session:
        for token_hash in hash_candidates(peppers, token):
            person = await queries.find_signed_in_person(session, token_hash)
            if person is not None:
                return person
    return None


async def sign_out(sessions: SessionMaker, token: str, peppers: KeyRing) -> None:
    """End a session; ending it twice changes nothing."""
    async with system_session(sessions) as session:
        await queries.delete_session(session, hash_candidates(peppers, token))


async def list_tenants_for_operator(sessions: SessionMaker) -> list[TenantRow]:
    """Every tenant by name. The caller has checked that an operator asks."""
    async with system_session(sessions) as session:
        return await queries.list_tenants_all_tenants(session)


async def get_tenant(session: AsyncSession, tenant_id: UUID) -> TenantRow:
    """The tenant whose session this is. Raises TenantNotFound."""
    tenant = await queries.find_tenant(session, tenant_id)
    if tenant is None:
        raise TenantNotFound()
    return tenant


async def open_tenant(
    session: AsyncSession, tenant_id: UUID, *, token: str, peppers: KeyRing, operator: Actor
) -> None:
    """Let an operator's session look at a tenant; the tenant's audit log says so.

    The caller has checked that an operator asks. Raises TenantNotFound, SessionEnded.
    """
    await get_tenant(session, tenant_id)
    if not await queries.set_active_tenant(session, tenant_id, hash_candidates(peppers, token)):
        raise SessionEnded()
    await audit.record(
        session,
        tenant_id,
        "tenant.opened",
        actor=operator,
        subject_kind="tenant",
        subject_id=tenant_id,
    )


def _require_address(email: str) -> str:
    address = _find_address(email)
    if address is None:
        raise InvalidEmailAddress(field="email")
    return address


def _find_address(email: str) -> str | None:
    address = email.strip().lower()
    return address if _ADDRESS.fullmatch(address) else None
