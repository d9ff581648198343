"""Monthly quotas: never one recipient too many, and hardly a question to the database.

Each process takes units of a quota in blocks, under the lock of the month's counter, and spends
them in memory. What it spends it adds to its lease in the very transaction that stores the
emails. So at each moment what is granted is what was spent and what stands in leases, also when a
process dies: what its lease has left goes back to the counter as soon as somebody needs it.

A lease can be taken back from a process that still lives. Its next spending then finds no lease,
its transaction stores nothing, and it has to reserve anew.

Locks are taken in one order everywhere: a counter before leases, and leases by tenant.
"""

import asyncio
import datetime as dt
from collections.abc import Mapping
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

from msgspec import Struct

from tallypost_core import clock
from tallypost_core.ids import new_id
from tallypost_core.ttl_cache import TTLCache
from tallypost_domain.db.arrays import columns
from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.db.watched_cache import Answer, WatchedCache
from tallypost_domain.usage.errors import QuotaExceeded

LARGEST_BLOCK: Final = 1_000
SHARE_OF_REST: Final = 20
"""A block is at most this part of what is left, so that nobody sits on the end of a quota."""

_STALE_AFTER = dt.timedelta(minutes=10)
# Sooner than that, a process looks whether its lease is still there.
_CHECK_AFTER_S = 300.0
_REFUSED_S = 1.0
_CACHE_SIZE = 100_000

_MONTH = """
    SELECT t.monthly_quota, m.starts::date AS period,
           extract(epoch FROM (m.starts + interval '1 month') AT TIME ZONE 'UTC' - now())::float8
               AS ends_in_s
    FROM date_trunc('month', now() AT TIME ZONE 'UTC') AS m (starts)
    LEFT JOIN tenants t ON t.id = $1
"""
_OPEN_COUNTER = """
    INSERT INTO quota_counters (tenant_id, period) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
_LOCK_COUNTER = """
    SELECT granted FROM quota_counters WHERE tenant_id = $1 AND period = $2 FOR UPDATE
"""
_TOUCH_LEASE = """
    UPDATE quota_leases SET used_at = now()
    WHERE tenant_id = $1 AND period = $2 AND id = $3 RETURNING true
"""
_COUNT_UNSPENT = """
    SELECT coalesce(sum(units - spent), 0)::bigint FROM quota_leases
    WHERE tenant_id = $1 AND period = $2 AND id <> $3
"""
# A row that a process is just spending from is waited for, and looked at again.
_TAKE_BACK = """
    WITH taken AS (
        DELETE FROM quota_leases
        WHERE tenant_id = $1 AND period = $2 AND id <> $3
          AND (used_at < now() - $4::interval OR ($5 AND units > spent))
        RETURNING units - spent AS unspent
    )
    SELECT coalesce(sum(unspent), 0)::bigint FROM taken
"""
_GRANT = """
    UPDATE quota_counters SET granted = granted + $3 WHERE tenant_id = $1 AND period = $2
"""
_ADD_TO_LEASE = """
    INSERT INTO quota_leases (tenant_id, period, id, units) VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant_id, period, id) DO UPDATE SET units = quota_leases.units + excluded.units
"""
_FORGET_PAST_MONTHS = "DELETE FROM quota_leases WHERE tenant_id = $1 AND period < $2"
_SPEND = """
    WITH locked AS (
        SELECT l.tenant_id, l.period, l.id, s.units
        FROM unnest($1::uuid[], $2::date[], $3::uuid[], $4::bigint[])
            AS s (tenant_id, period, id, units)
        JOIN quota_leases l USING (tenant_id, period, id)
        ORDER BY l.tenant_id, l.id
        FOR UPDATE OF l
    )
    UPDATE quota_leases l SET spent = l.spent + k.units, used_at = now()
    FROM locked k
    WHERE l.tenant_id = k.tenant_id AND l.period = k.period AND l.id = k.id
      AND l.spent + k.units <= l.units
      AND l.period = date_trunc('month', now() AT TIME ZONE 'UTC')::date
    RETURNING l.id
"""


class Lease(Struct, eq=False):
    """Units of one tenant and month that this process may spend."""

    tenant_id: UUID
    period: dt.date
    id: UUID
    ends_at_s: float
    """When the month ends, of `clock.monotonic_s`."""
    checked_at_s: float = 0.0
    left: int = 0
    """Not yet reserved."""
    is_revoked: bool = False

    @property
    def key(self) -> tuple[UUID, dt.date, UUID]:
        """Of its row."""
        return self.tenant_id, self.period, self.id

    def take(self, units: int) -> bool:
        """Reserve units, or nothing where they do not suffice or the lease has to be checked."""
        now_s = clock.monotonic_s()
        if self.is_revoked or units > self.left or now_s >= self.ends_at_s:
            return False
        if now_s - self.checked_at_s > _CHECK_AFTER_S:
            return False
        self.left -= units
        return True

    def give_back(self, units: int) -> None:
        """Undo a part of what was reserved, or all of it."""
        self.left += units


class Reservation(Struct, frozen=True):
    """Units that were taken from a lease and have to be spent or given back."""

    lease: Lease
    units: int


class _Month(Struct, frozen=True):
    quota: int | None
    period: dt.date
    ends_at_s: float


class _Refusal(Struct, frozen=True):
    left: int
    ends_at_s: float

    def error(self) -> QuotaExceeded:
        return QuotaExceeded(retry_after_s=self.ends_at_s - clock.monotonic_s())


class Quotas:
    """The leases of this process. One per process."""

    def __init__(self, pool: Pool, feed: ChangeFeed | None = None) -> None:
        """pool logs in as tp_accept; feed tells when a tenant gets a quota or loses it."""
        self._pool = pool
        self._is_metered: WatchedCache[UUID, bool] = WatchedCache(
            feed, size=_CACHE_SIZE, tables=("tenants",)
        )
        self._leases: dict[UUID, Lease] = {}
        self._refused: TTLCache[UUID, _Refusal] = TTLCache(size=_CACHE_SIZE, ttl_s=_REFUSED_S)
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def reserve(self, tenant_id: UUID, units: int) -> Reservation | None:
        """Set units aside for emails that are about to be stored; None where there is no quota.

        A quota that is lowered holds for what is leased from then on. Raises QuotaExceeded,
        DatabaseUnavailable.
        """
        is_metered = self._is_metered.find(tenant_id)
        if is_metered is None:
            is_metered = await self._is_metered.get(tenant_id, lambda: self._ask(tenant_id))
        if not is_metered:
            return None
        reservation = self._take(tenant_id, units)
        if reservation is not None:
            return reservation
        turn = self._turns.setdefault(tenant_id, asyncio.Lock())
        async with turn:
            # Whoever had the turn before may have leased enough for those who waited.
            while (reservation := self._take(tenant_id, units)) is None:
                refusal = self._refused.find(tenant_id)
                if refusal is not None and refusal.left < units:
                    raise refusal.error()
                if not await self._lease(tenant_id, units):
                    return None
        return reservation

    def _take(self, tenant_id: UUID, units: int) -> Reservation | None:
        lease = self._leases.get(tenant_id)
        return Reservation(lease, units) if lease is not None and lease.take(units) else None

    async def _ask(self, tenant_id: UUID) -> Answer[bool]:
        async with transaction(self._pool, [tenant_id]) as connection:
            month = await _month(connection, tenant_id)
        return Answer(tenant_id, month.quota is not None)

    async def _lease(self, tenant_id: UUID, units: int) -> bool:
        """Bring the lease to at least this many units, or note that there are not so many.

        False where the tenant has no quota any more.
        """
        async with transaction(self._pool, [tenant_id]) as connection:
            month = await _month(connection, tenant_id)
            if month.quota is None:
                return False
            await connection.execute(_OPEN_COUNTER, tenant_id, month.period)
            granted: int = await connection.fetchval(_LOCK_COUNTER, tenant_id, month.period)
            lease = await self._find_lease(connection, tenant_id, month)
            is_new = lease is None
            if lease is None:
                lease = Lease(tenant_id, month.period, new_id(), month.ends_at_s)
                await connection.execute(_FORGET_PAST_MONTHS, tenant_id, month.period)
            least = max(0, units - lease.left)
            rest = month.quota - granted
            taken_back = await _take_back(connection, lease, missing=least - rest)
            rest += taken_back
            block = _block(rest, least) if rest >= least else 0
            if block or taken_back:
                await connection.execute(_GRANT, tenant_id, month.period, block - taken_back)
            if block:
                await connection.execute(_ADD_TO_LEASE, *lease.key, block)
        # Only now: had the commit failed, nobody here could spend what it granted.
        lease.checked_at_s = clock.monotonic_s()
        lease.left += block
        if is_new and block:
            self._leases[tenant_id] = lease
        if lease.left < units:
            left = lease.left + max(0, rest - block)
            self._refused.put(tenant_id, _Refusal(left, month.ends_at_s))
        return True

    async def _find_lease(
        self, connection: Connection, tenant_id: UUID, month: _Month
    ) -> Lease | None:
        """The lease, if it still stands; under the counter's lock nobody can take it back."""
        lease = self._leases.get(tenant_id)
        if lease is not None and lease.period == month.period and not lease.is_revoked:
            if await connection.fetchval(_TOUCH_LEASE, *lease.key):
                return lease
            lease.is_revoked = True
        self._leases.pop(tenant_id, None)
        return None


async def spend(connection: Connection, units: Mapping[Lease, int]) -> list[Lease]:
    """Add to leases what the running transaction spends from them.

    Returns the leases from which it could not, because they were taken back or their month is
    over: the transaction must then be rolled back.
    """
    if not units:
        return []
    keys = columns(lease.key for lease in units)
    rows = await connection.fetch(_SPEND, *keys, list(units.values()))
    spent = {row["id"] for row in rows}
    revoked = [lease for lease in units if lease.id not in spent]
    for lease in revoked:
        lease.is_revoked = True
    return revoked


async def _month(connection: Connection, tenant_id: UUID) -> _Month:
    asked_at_s = clock.monotonic_s()
    row = await connection.fetchrow(_MONTH, tenant_id)
    return _Month(row["monthly_quota"], row["period"], asked_at_s + row["ends_in_s"])


async def _take_back(connection: Connection, lease: Lease, *, missing: int) -> int:
    """Units that other leases give back: forgotten ones always, and all if they can fill a lack."""
    if missing > 0:
        unspent: int = await connection.fetchval(_COUNT_UNSPENT, *lease.key)
        takes_all = unspent >= missing
    else:
        takes_all = False
    taken: int = await connection.fetchval(_TAKE_BACK, *lease.key, _STALE_AFTER, takes_all)
    return taken


def _block(rest: int, least: int) -> int:
    return max(least, min(LARGEST_BLOCK, rest // SHARE_OF_REST))
