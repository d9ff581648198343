"""Making, revoking and recognising API keys."""

import hashlib
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
from tallypost_core.errors import AppError
from tallypost_core.ids import new_id
from tallypost_core.ttl_cache import TTLCache
from tallypost_domain.api_keys.errors import APIKeyNotFound, InvalidAPIKey, TenantSuspended
from tallypost_domain.api_keys.models import APIKey
from tallypost_domain.api_keys.types import CreatedKey, KeyPermission, Principal
from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.db.sessions import SessionMaker, system_session
from tallypost_domain.db.watched_cache import Answer, WatchedCache
from tallypost_providers.types import Mode

_PREFIX_LENGTH = len("tp_live_") + 4

_CACHE_SIZE = 100_000
# A key that was refused is refused for so long without asking again. Nobody can have presented a
# key before it was made, so this keeps none out.
_REFUSED_S = 1.0

_FIND = text("SELECT * FROM find_api_key(:hash)")


class KeyDirectory:
    """Recognises keys, and remembers them for as long as nothing about them changes."""

    def __init__(
        self, sessions: SessionMaker, peppers: KeyRing, feed: ChangeFeed | None = None
    ) -> None:
        """Without a feed, or while it is not current, a key is remembered for a second only."""
        self._sessions = sessions
        self._peppers = peppers
        self._known: WatchedCache[bytes, Principal] = WatchedCache(
            feed, size=_CACHE_SIZE, tables=("api_keys", "tenants")
        )
        self._refused: TTLCache[bytes, type[AppError]] = TTLCache(
            size=_CACHE_SIZE, ttl_s=_REFUSED_S
        )

    def find_known(self, token: str) -> Principal | None:
        """Who presents this key, where that is remembered; costs neither a look-up nor a wait."""
        return self._known.find(_mark(token))

    async def authenticate(self, token: str) -> Principal:
        """Who presents this key.

        A malformed key costs no lookup. Raises InvalidAPIKey, or TenantSuspended for a good key
        of a tenant that may not use the platform now.
        """
        if parse_api_key(token) is None:
            raise InvalidAPIKey()
        mark = _mark(token)
        refusal = self._refused.find(mark)
        if refusal is not None:
            raise refusal()
        asked_at_s = clock.monotonic_s()
        try:
            return await self._known.get(mark, lambda: self._look_up(token))
        except (InvalidAPIKey, TenantSuspended) as error:
            self._refused.put(mark, type(error), as_of_s=asked_at_s)
            raise

    async def _look_up(self, token: str) -> Answer[Principal]:
        async with system_session(self._sessions) as session:
            for candidate in hash_candidates(self._peppers, token):
                row = (await session.execute(_FIND, {"hash": candidate})).one_or_none()
                if row is not None:
                    break
            else:
                raise InvalidAPIKey()
        if row.is_revoked:
            raise InvalidAPIKey()
        if row.tenant_status != "active":
            raise TenantSuspended()
        principal = Principal(
            tenant_id=row.tenant_id,
            api_key_id=row.id,
            mode=row.mode,
            permission=row.permission,
            stream=row.stream,
            rate_limit_per_s=row.rate_limit_per_s,
        )
        return Answer(row.tenant_id, principal)


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


async def revoke_key(session: AsyncSession, tenant_id: UUID, key_id: UUID) -> bool:
    """End a key; within a second no process accepts it. Revoking twice changes nothing.

    Returns whether this call ended it. Raises APIKeyNotFound.
    """
    revoked = await session.execute(
        update(APIKey)
        .where(APIKey.tenant_id == tenant_id, APIKey.id == key_id)
        .values(revoked_at=func.coalesce(APIKey.revoked_at, func.now()))
        # now() is the beginning of this transaction, so an earlier one left another time.
        .returning(APIKey.revoked_at == func.now())
    )
    is_ours = revoked.scalar_one_or_none()
    if is_ours is None:
        raise APIKeyNotFound()
    return is_ours


def _mark(token: str) -> bytes:
    # Memory holds no keys, and this costs less than the keyed hash that the database knows.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
