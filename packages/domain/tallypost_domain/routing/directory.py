"""How tenants' mail is routed, for the worker: routes, opened accounts, and where domains stand."""

from uuid import UUID

import asyncpg
import structlog
from msgspec import Struct

from tallypost_core.crypto import CryptoError, DataKey, KeyRing, WrappedKey, unwrap_data_key
from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.db.pools import Pool, transaction
from tallypost_domain.db.watched_cache import Answer, WatchedCache
from tallypost_domain.routing.account_secrets import open_secrets
from tallypost_domain.routing.types import OpenedAccount, RouteView

_CACHE_SIZE = 20_000

_ROUTES = """
    SELECT r.id, r.accounts, r.domain_id, r.lane, r.tag_name, r.tag_value, r.share
    FROM routes r WHERE r.tenant_id = $1 ORDER BY r.position
"""
_ACCOUNTS = """
    SELECT p.id, p.tenant_id, p.provider, p.settings, p.secrets, p.changed_at, p.is_on,
           t.ring_key_name, t.wrapped_key
    FROM provider_accounts p JOIN tenant_data_keys t ON t.tenant_id = p.tenant_id
    WHERE p.tenant_id = $1 AND p.is_on
"""
_ACCOUNT = """
    SELECT p.id, p.tenant_id, p.provider, p.settings, p.secrets, p.changed_at, p.is_on,
           t.ring_key_name, t.wrapped_key
    FROM provider_accounts p JOIN tenant_data_keys t ON t.tenant_id = p.tenant_id
    WHERE p.tenant_id = $1 AND p.id = $2
"""
_HAS_ACCOUNT = "SELECT 1 FROM provider_accounts p WHERE p.tenant_id = $1 AND p.id = $2"
_UNVERIFIED = """
    SELECT a.account, a.domain_id FROM account_domains a
    WHERE a.tenant_id = $1 AND a.status = 'unverified'
"""

log = structlog.get_logger()


class TenantRouting(Struct, frozen=True, kw_only=True):
    """Everything that decides where a tenant's mail may go."""

    routes: tuple[RouteView, ...]
    accounts: tuple[OpenedAccount, ...]
    """Its own, those that are on."""
    unverified: frozenset[tuple[str, UUID]]
    """Accounts and domains that must not be sent from there: the provider said so."""


class RoutingDirectory:
    """Remembers each tenant's routing until something about it changes; within a second at most."""

    def __init__(self, pool: Pool, key_ring: KeyRing, feed: ChangeFeed | None = None) -> None:
        """pool logs in as tp_deliver."""
        self._pool = pool
        self._key_ring = key_ring
        self._known: WatchedCache[UUID, TenantRouting] = WatchedCache(
            feed, size=_CACHE_SIZE, tables=("provider_accounts", "routes", "account_domains")
        )

    async def get(self, tenant_id: UUID) -> TenantRouting:
        """A tenant's routing; the same object for as long as it is remembered.

        An account whose secrets no longer open is left out. Raises DatabaseUnavailable.
        """
        known = self._known.find(tenant_id)
        if known is None:
            answer = await self._known.get(tenant_id, lambda: self._load(tenant_id))
            # Who asked later may have been answered sooner.
            known = self._known.find(tenant_id) or answer
        return known

    async def find_account(self, tenant_id: UUID, account_id: UUID) -> OpenedAccount | None:
        """An account as it is stored now, also one that is off; None where there is none, or its
        secrets no longer open. Raises DatabaseUnavailable."""
        async with transaction(self._pool, [tenant_id]) as connection:
            row = await connection.fetchrow(_ACCOUNT, tenant_id, account_id)
        return None if row is None else self._open(tenant_id, row)

    async def has_account(self, tenant_id: UUID, account_id: UUID) -> bool:
        """Whether an account is stored, also one whose secrets no longer open.

        Raises DatabaseUnavailable.
        """
        async with transaction(self._pool, [tenant_id]) as connection:
            return await connection.fetchrow(_HAS_ACCOUNT, tenant_id, account_id) is not None

    async def _load(self, tenant_id: UUID) -> Answer[TenantRouting]:
        async with transaction(self._pool, [tenant_id]) as connection:
            routes = await connection.fetch(_ROUTES, tenant_id)
            accounts = await connection.fetch(_ACCOUNTS, tenant_id)
            unverified = await connection.fetch(_UNVERIFIED, tenant_id)
        opened = (self._open(tenant_id, row) for row in accounts)
        routing = TenantRouting(
            routes=tuple(map(_route, routes)),
            accounts=tuple(account for account in opened if account is not None),
            unverified=frozenset((row["account"], row["domain_id"]) for row in unverified),
        )
        return Answer(tenant_id, routing)

    def _open(self, tenant_id: UUID, row: asyncpg.Record) -> OpenedAccount | None:
        try:
            secrets = open_secrets(
                self._unwrap(tenant_id, row), tenant_id, row["id"], row["secrets"]
            )
        except CryptoError as error:
            kind = type(error).__name__
            log.warning("account.not_opened", account=str(row["id"]), error=kind)
            return None
        return OpenedAccount(
            id=row["id"],
            tenant_id=tenant_id,
            provider=row["provider"],
            settings=row["settings"],
            secrets=secrets,
            changed_at=row["changed_at"],
            is_on=row["is_on"],
        )

    def _unwrap(self, tenant_id: UUID, row: asyncpg.Record) -> DataKey:
        stored = WrappedKey(row["ring_key_name"], row["wrapped_key"])
        return unwrap_data_key(self._key_ring, tenant_id, stored)


def _route(row: asyncpg.Record) -> RouteView:
    return RouteView(
        id=row["id"],
        accounts=tuple(row["accounts"]),
        domain_id=row["domain_id"],
        lane=row["lane"],
        tag_name=row["tag_name"],
        tag_value=row["tag_value"],
        share=row["share"],
    )
