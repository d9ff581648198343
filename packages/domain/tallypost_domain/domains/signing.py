"""Opens the DKIM keys of sending domains for the worker."""

from uuid import UUID

from tallypost_core.crypto import KeyRing, WrappedKey, decrypt, unwrap_data_key
from tallypost_core.ttl_cache import TTLCache
from tallypost_domain.db.pools import Pool, transaction
from tallypost_domain.domains.service import private_key_context
from tallypost_providers.types import DKIMKey

# A replaced key goes on signing for a minute; its DNS record stays far longer than that.
_CACHE_TTL_S = 60.0
_CACHE_SIZE = 5_000

_KEYS = """
    SELECT k.id, k.selector, k.algorithm, k.private_key, d.name AS domain,
           t.ring_key_name, t.wrapped_key
    FROM dkim_keys k
    JOIN domains d ON d.tenant_id = k.tenant_id AND d.id = k.domain_id
    JOIN tenant_data_keys t ON t.tenant_id = k.tenant_id
    WHERE k.tenant_id = $1 AND k.domain_id = $2
    ORDER BY k.selector
"""


class SigningKeyDirectory:
    """Signing keys in the clear, for a minute each; they live in memory only."""

    def __init__(self, pool: Pool, key_ring: KeyRing) -> None:
        """pool logs in as tp_deliver."""
        self._pool = pool
        self._key_ring = key_ring
        self._known: TTLCache[tuple[UUID, UUID], tuple[DKIMKey, ...]] = TTLCache(
            size=_CACHE_SIZE, ttl_s=_CACHE_TTL_S
        )

    async def list_keys(self, tenant_id: UUID, domain_id: UUID) -> tuple[DKIMKey, ...]:
        """All keys of a domain; none makes mail go unsigned.

        Raises DatabaseUnavailable, and CryptoError where a key no longer opens.
        """
        known = self._known.find((tenant_id, domain_id))
        if known is None:
            known = await self._load(tenant_id, domain_id)
            self._known.put((tenant_id, domain_id), known)
        return known

    async def _load(self, tenant_id: UUID, domain_id: UUID) -> tuple[DKIMKey, ...]:
        async with transaction(self._pool, [tenant_id]) as connection:
            rows = await connection.fetch(_KEYS, tenant_id, domain_id)
        keys = []
        for row in rows:
            stored = WrappedKey(row["ring_key_name"], row["wrapped_key"])
            data_key = unwrap_data_key(self._key_ring, tenant_id, stored)
            context = private_key_context(tenant_id, row["id"])
            keys.append(
                DKIMKey(
                    domain=row["domain"],
                    selector=row["selector"],
                    algorithm=row["algorithm"],
                    private_key=decrypt(data_key, row["private_key"], context),
                )
            )
        return tuple(keys)
