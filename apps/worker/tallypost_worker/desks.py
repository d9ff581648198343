"""How many deliveries of a process may be with one account, or with one account and one receiver.

What hangs, or is slow, gets no more of them than its own places: the others go on.
"""

import math
from collections.abc import Callable, Collection, Hashable, Iterable
from types import TracebackType
from typing import Final
from uuid import UUID

from tallypost_providers.errors import ProviderBusy
from tallypost_providers.places import Places
from tallypost_providers.types import Provider

PATIENCE_S: Final = 2.0
"""How long a delivery waits for a place, keeping its own: nothing else could be sent meanwhile."""

# Of the deliveries of a process. What hangs at one account of the platform leaves room for others.
_PLATFORM_SHARE: Final = 0.6
# Of tenants' own accounts: of one, of all that one tenant has, and of all together.
_ACCOUNT_SHARE: Final = 0.15
_TENANT_SHARE: Final = 0.25
_TENANTS_SHARE: Final = 0.6
# Of the last ones: kept for tenants who have no place yet, so that a few cannot have them all.
_KEPT_SHARE: Final = 0.2
# Of the deliveries: those who wait for a tenant's account or a receiver, and do nothing else.
_WAITING_SHARE: Final = 0.1
# Where all places are taken and none came free for so long, whoever holds them hangs.
_STUCK_S: Final = 2.0


class Line:
    """How many may wait at several desks together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.waiting = 0


class Desk:
    """Some places, and those who have one or will ask for one."""

    def __init__(self, count: int, clock: Callable[[], float], line: Line | None = None) -> None:
        """Whoever comes while the line is full is sent away where all places are taken."""
        self._count = count
        self._places = Places(count)
        self._clock = clock
        self._line = line
        # When it became full, or last let somebody go.
        self._moved_at_s = clock()
        self.visitors = 0
        """Who has a place, waits for one, or waits elsewhere and comes here next."""

    @property
    def taken(self) -> int:
        """How many places somebody has."""
        return self._places.taken

    @property
    def free(self) -> int:
        """How many places nobody has."""
        return self._count - self._places.taken

    @property
    def is_stuck(self) -> bool:
        """True where all places are taken and nobody has left for a while."""
        return not self.free and self._clock() - self._moved_at_s > _STUCK_S

    async def enter(self, *, is_bulk: bool) -> bool:
        """Wait for a place; False where none became free in time, or too many wait already."""
        line = self._line
        if not self.free and line is not None:
            if line.waiting >= line.most:
                return False
            line.waiting += 1
            try:
                return await self._take(is_bulk=is_bulk)
            finally:
                line.waiting -= 1
        return await self._take(is_bulk=is_bulk)

    def leave(self) -> None:
        """Give the place to whoever waits longest."""
        self._moved_at_s = self._clock()
        self._places.give_back()

    async def _take(self, *, is_bulk: bool) -> bool:
        had_room = bool(self.free)
        try:
            await self._places.take(PATIENCE_S, is_bulk=is_bulk)
        except ProviderBusy:
            return False
        if had_room and not self.free:
            self._moved_at_s = self._clock()
        return True


class Place:
    """A place at an account, held while the block lasts."""

    __slots__ = ("_release", "provider")

    def __init__(self, provider: Provider, release: Callable[[], None]) -> None:
        self.provider = provider
        self._release = release

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give it to whoever waits for one; once, where no block does so."""
        self._release()


class Desks:
    """The desks of a process: of its accounts, of tenants, and of receivers."""

    def __init__(
        self, platform: Collection[Provider], concurrency: int, clock: Callable[[], float]
    ) -> None:
        """platform are the platform's accounts; any other one is a tenant's."""
        self._concurrency = concurrency
        self._clock = clock
        self._platform = {account.account for account in platform}
        outside = [account.account for account in platform if account.capabilities.reaches_outside]
        # A lone account takes nothing from others.
        self._of_platform = (
            {name: self._make(_PLATFORM_SHARE) for name in outside} if len(outside) > 1 else {}
        )
        self._line = Line(math.ceil(concurrency * _WAITING_SHARE))
        self._of_tenants = self._make(_TENANTS_SHARE, self._line)
        self._kept = int(self._of_tenants.free * _KEPT_SHARE)
        # Those of tenants by their ids, of their accounts by name, of receivers by account and
        # domain; there for as long as somebody visits them.
        self._passing: dict[Hashable, Desk] = {}

    @property
    def passing(self) -> int:
        """How many desks there are of tenants, of their accounts, and of receivers."""
        return len(self._passing)

    def is_bounded(self, way: Provider) -> bool:
        """Whether few may wait for a place at an account: it is a tenant's, or counts receivers."""
        return way.account not in self._platform or _find_limit(way) is not None

    def is_stuck(self, way: Provider) -> bool:
        """Whether whoever has the places of an account hangs."""
        desks = self._of_platform if way.account in self._platform else self._passing
        desk = desks.get(way.account)
        return desk is not None and desk.is_stuck

    async def enter(
        self, way: Provider, tenant_id: UUID, receivers: Collection[str], *, is_bulk: bool
    ) -> Place | None:
        """A place for a tenant's mail to these domains; None where there was none in time."""
        named = [*self._at_receivers(way, receivers), *self._at_account(way, tenant_id)]
        if not named:
            return Place(way, _leave_nothing)
        entered: list[Desk] = []

        def release() -> None:
            for desk in entered:
                desk.leave()
            self._forget_empty(named)

        for _, desk in named:
            desk.visitors += 1
        try:
            if self._is_kept_for_others(way, tenant_id):
                release()
                return None
            for _, desk in named:
                if not await desk.enter(is_bulk=is_bulk):
                    release()
                    return None
                entered.append(desk)
        except BaseException:
            release()
            raise
        return Place(way, release)

    def _is_kept_for_others(self, way: Provider, tenant_id: UUID) -> bool:
        """Whether the last places at tenants' accounts are not for one who has some already."""
        if way.account in self._platform or self._of_tenants.free > self._kept:
            return False
        return self._passing[tenant_id].taken > 0

    def _make(self, share: float, line: Line | None = None) -> Desk:
        return Desk(math.ceil(self._concurrency * share), self._clock, line)

    def _at_account(self, way: Provider, tenant_id: UUID) -> list[tuple[Hashable, Desk]]:
        if way.account in self._platform:
            desk = self._of_platform.get(way.account)
            return [] if desk is None else [(None, desk)]
        return [
            (way.account, self._get(way.account, _ACCOUNT_SHARE)),
            (tenant_id, self._get(tenant_id, _TENANT_SHARE)),
            (None, self._of_tenants),
        ]

    def _at_receivers(
        self, way: Provider, receivers: Collection[str]
    ) -> list[tuple[Hashable, Desk]]:
        """In one order, so that two emails never wait for each other's."""
        limit = _find_limit(way)
        if limit is None:
            return []
        keys = [(way.account, receiver) for receiver in sorted(receivers)]
        for key in keys:
            if key not in self._passing:
                self._passing[key] = Desk(limit, self._clock, self._line)
        return [(key, self._passing[key]) for key in keys]

    def _get(self, key: Hashable, share: float) -> Desk:
        desk = self._passing.get(key)
        if desk is None:
            desk = self._passing[key] = self._make(share, self._line)
        return desk

    def _forget_empty(self, named: Iterable[tuple[Hashable, Desk]]) -> None:
        """There are as many receivers as there are domains on earth, and accounts come and go."""
        for key, desk in named:
            desk.visitors -= 1
            if not desk.visitors and key is not None:
                del self._passing[key]


def _find_limit(way: Provider) -> int | None:
    """How many handovers to one recipient domain may go on at a time; no part of the Protocol."""
    limit: int | None = getattr(way, "connections_per_domain", None)
    return limit


def _leave_nothing() -> None:
    """The end of a place that nobody waits for."""
