"""Suppressed addresses, looked up by keyed hashes."""

from uuid import UUID

import idna
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import KeyRing, hash_candidates, hash_secret
from tallypost_core.ids import new_id
from tallypost_domain.suppressions.models import Suppression


async def suppress(
    session: AsyncSession,
    tenant_id: UUID,
    mode: str,
    address: str,
    *,
    origin: str,
    peppers: KeyRing,
) -> None:
    """Stop all sending of one mode to an address; suppressing it twice changes nothing.

    origin is `bounce`, `complaint` or `manual`.
    """
    await session.execute(
        insert(Suppression)
        .values(
            tenant_id=tenant_id,
            mode=mode,
            address_hash=hash_secret(peppers, normalise(address)),
            id=new_id(),
            origin=origin,
        )
        .on_conflict_do_nothing()
    )


def address_hashes(peppers: KeyRing, address: str) -> list[bytes]:
    """The hashes under which an address may be suppressed, one for each pepper in use."""
    return hash_candidates(peppers, normalise(address))


def normalise(address: str) -> str:
    """One spelling for all: mailbox names that differ in case only are one mailbox in practice.

    The domain is put in its ASCII form, as emails have it. Raises ValueError where it has none.
    """
    local_part, at, domain = address.strip().lower().rpartition("@")
    if not domain.isascii():
        domain = idna.encode(domain, uts46=True).decode("ascii")
    return f"{local_part}{at}{domain}"
