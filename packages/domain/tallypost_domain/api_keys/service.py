"""Making, revoking and recognising API keys."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core import clock
from tallypost_core.crypto import (
    KeyRing,
    hash_candidates,
    hash_secret,
    new_api_key,
    parse_api_key,
)
from tallypost_core.ids import new_id
from tallypost_core.ttl_cache import TTLCache
from tallypost_domain.api_keys.errors import APIKeyNotFound, InvalidAPIKey, TenantSuspended
from tallypost_domain.api_keys.models import APIKey
from tallypost_domain.api_keys.types import CreatedKey, KeyPermission, Principal
from tallypost_domain.db.sessions import SessionMaker, system_session
from tallypost_providers.types import Mode

_PREFIX_LENGTH = len("tp_live_") + 4

# A revoked key dies within a second everywhere, because nobody remembers one for longer.
_CACHE_TTL_S = 1.0
_CACHE_SIZE = 10_000

_FIND = text("SELECT * FROM find_api_key(:hash)")


class KeyDirectory:
    """Recognises keys, with a memory of one second so that a busy key costs one lookup in it."""

    def __init__(self, sessions: SessionMaker, peppers: KeyRing) -> None:
        self._sessions = sessions
        self._peppers = peppers
        self._known: TTLCache[bytes, Principal] = TTLCache(size=_CACHE_SIZE, ttl_s=_CACHE_TTL_S)

    async def authenticate(self, token: str) -> Principal:
        """Who presents this key.

        A malformed key costs no lookup. Raises InvalidAPIKey, or TenantSuspended for a good key
        of a tenant that may not use the platform now.
        """
        if parse_api_key(token) is None:
            raise InvalidAPIKey()
        candidates = hash_candidates(self._peppers, token)
        known = self._known.find(candidates[0])
        if known is None:
            asked_at_s = clock.monotonic_s()
            known = await self._look_up(candidates)
            self._known.put(candidates[0], known, as_of_s=asked_at_s)
        return known

    async def _look_up(self, candidates: Sequence[bytes]) -> Principal:
        async with system_session(self._sessions) as session:
            for candidate in candidates:
                row = (await session.execute(_FIND, {"hash": candidate})).one_or_none()
                if row is not None:
                    break
            else:
                raise InvalidAPIKey()
        if row.is_revoked:
            raise InvalidAPIKey()
        if row.tenant_status != "active":
            raise TenantSuspended()
        return Principal(
            tenant_id=row.tenant_id,
            api_key_id=row.id,
            mode=row.mode,
            permission=row.permission,
            stream=row.stream,
            rate_limit_per_s=row.rate_limit_per_s,
        )


async def create_key(
    session: AsyncSession,
    tenant_id: UUID,
    *,
    mode: Mode,
    name: str,
    peppers: KeyRing,
    permission: KeyPermission = "full_access",
    stream: str | None = None,
    rate_limit_per_s: float | None = None,
) -> CreatedKey:
    """Make a key and return it this once; what is stored cannot be turned back into it."""
    token = new_api_key(mode)
    key_id = new_id()
    session.add(
        APIKey(
            tenant_id=tenant_id,
            id=key_id,
            mode=mode,
            name=name,
            key_hash=hash_secret(peppers, token),
            prefix=token[:_PREFIX_LENGTH],
            last_four=token[-4:],
            permission=permission,
            stream=stream,
            rate_limit_per_s=rate_limit_per_s,
        )
    )
    await session.flush()
    return CreatedKey(id=key_id, token=token)


async def revoke_key(session: AsyncSession, tenant_id: UUID, key_id: UUID) -> None:
    """End a key; within a second no process accepts it. Revoking twice changes nothing.

    Raises APIKeyNotFound.
    """
    revoked = await session.execute(
        update(APIKey)
        .where(APIKey.tenant_id == tenant_id, APIKey.id == key_id)
        .values(revoked_at=func.coalesce(APIKey.revoked_at, func.now()))
        .returning(APIKey.id)
    )
    if revoked.scalar_one_or_none() is None:
        raise APIKeyNotFound()
