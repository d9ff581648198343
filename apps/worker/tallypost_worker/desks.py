"""How many deliveries of a process may be with one account, or with one account and one receiver.

What hangs, or is slow, gets no more of them than its own places: the others go on.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from types import TracebackType
from typing import Final
from uuid import UUID

import structlog

from tallypost_providers.errors import ProviderBusy
from tallypost_providers.places import Places
from tallypost_providers.types import Provider
from tallypost_telemetry import metrics

PATIENCE_S: Final = 2.0
"""How long a delivery waits for all its places together: nothing else could be sent meanwhile."""

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
# Where all places are taken, most of them by handovers, and none of these ended for so long, they
# hang.
_STUCK_S: Final = 2.0

log = structlog.get_logger()


class Line:
    """How many may wait at several desks together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.waiting = 0


class Desk:
    """Some places, and those who have one or will ask for one."""

    def __init__(
        self,
        name: str,
        count: int,
        clock: Callable[[], float],
        line: Line | None = None,
        key: str = "",
    ) -> None:
        """Whoever comes while the line is full is sent away where all places are taken.

        name, a fixed word, goes to the metric and the log; the key goes to the log.
        """
        self._name = name
        self._key = key
        self._count = count
        self._places = Places(count)
        self._clock = clock
        self._line = line
        self._handovers = 0
        self._most_of_them = count // 2 + 1
        # When it became full, or most of its places became those of handovers, or one of these
        # ended last.
        self._moved_at_s = clock()
        # When somebody last left it full who had handed over nothing.
        self._full_at_s = -math.inf
        self._has_refused = False
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
        """True where handovers have the places and none of them has ended for a while."""
        return self._is_occupied and self._clock() - self._moved_at_s > _STUCK_S

    async def enter(self, until_s: float, *, is_bulk: bool) -> bool:
        """Wait for a place until this time of the event loop; False where none became free, or too
        many wait already."""
        line = self._line
        if self.free or line is None:
            return await self._take(until_s, is_bulk=is_bulk)
        if line.waiting >= line.most:
            self.note_refusal()
            if not self._has_refused:
                # Once for each time of trouble: an overload must not become one of the log as well.
                self._has_refused = True
                log.warning("bulkhead.full", bulkhead=self._name, key=self._key)
            return False
        line.waiting += 1
        try:
            return await self._take(until_s, is_bulk=is_bulk)
        finally:
            line.waiting -= 1

    def note_refusal(self) -> None:
        """Count that somebody is sent away at once."""
        metrics.record_bulkhead_entry(self._name, "full")

    def begin_handover(self) -> None:
        """Somebody who has a place hands over from now on, until `leave`."""
        self._handovers += 1
        if self._handovers == self._most_of_them:
            self._moved_at_s = self._clock()

    def withdraw_handover(self) -> None:
        """What had begun did not come to the account."""
        self._handovers -= 1

    def leave(self, *, has_handed_over: bool) -> None:
        """Give the place to whoever waits longest."""
        if has_handed_over:
            self._handovers -= 1
            self._moved_at_s = self._clock()
        elif not self.free:
            self._full_at_s = self._clock()
        self._places.give_back()
        if self.free:
            self._has_refused = False

    @property
    def _is_occupied(self) -> bool:
        """Whether there is no place but for handovers to end: whoever waits for memory, for an
        attachment or for the database says nothing about the account."""
        return not self.free and self._handovers >= self._most_of_them

    async def _take(self, until_s: float, *, is_bulk: bool) -> bool:
        had_room = bool(self.free)
        within_s = 0.0 if had_room else until_s - asyncio.get_running_loop().time()
        try:
            await self._places.take(within_s, is_bulk=is_bulk)
        except ProviderBusy:
            metrics.record_bulkhead_entry(self._name, "late")
            return False
        metrics.record_bulkhead_entry(self._name, "entered")
        if had_room and not self.free:
            now_s = self._clock()
            # Who only passed through has not shown that anything moves.
            if now_s - self._full_at_s > _STUCK_S:
                self._moved_at_s = now_s
        return True


class Place:
    """A place at an account, held while the block lasts."""

    __slots__ = ("_entered", "_is_handing_over", "_on_release", "provider")

    def __init__(
        self, provider: Provider, entered: Sequence[Desk], on_release: Callable[[], None]
    ) -> None:
        """entered are the desks that it is a place at, which may still become more."""
        self.provider = provider
        self._entered = entered
        self._on_release = on_release
        self._is_handing_over = False

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def begin_handover(self) -> None:
        """From now on it is the account that keeps the place; called once."""
        self._is_handing_over = True
        for desk in self._entered:
            desk.begin_handover()

    def withdraw_handover(self) -> None:
        """The account was not asked after all, such as for want of a connection."""
        self._is_handing_over = False
        for desk in self._entered:
            desk.withdraw_handover()

    def release(self) -> None:
        """Give it to whoever waits for one; once, where no block does so."""
        for desk in self._entered:
            desk.leave(has_handed_over=self._is_handing_over)
        self._on_release()


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
            {name: self._make("platform_account", _PLATFORM_SHARE, key=name) for name in outside}
            if len(outside) > 1
            else {}
        )
        self._line = Line(math.ceil(concurrency * _WAITING_SHARE))
        self._of_tenants = self._make("tenants", _TENANTS_SHARE, self._line)
        self._kept = int(self._of_tenants.free * _KEPT_SHARE)
        # Those of tenants by their ids, of their accounts by name, of receivers by account and
        # domain; there for as long as somebody visits them.
        self._passing: dict[Hashable, Desk] = {}

    @property
    def passing(self) -> int:
        """How many desks there are of tenants, of their accounts, and of receivers."""
        return len(self._passing)

    def is_stuck(self, way: Provider) -> bool:
        """Whether the handovers that have the places of an account hang."""
        desks = self._of_platform if way.account in self._platform else self._passing
        desk = desks.get(way.account)
        return desk is not None and desk.is_stuck

    async def enter(
        self, way: Provider, tenant_id: UUID, receivers: Collection[str], *, is_bulk: bool
    ) -> Place | None:
        """A place for a tenant's mail to these domains; None where there was none in time."""
        named = [*self._at_receivers(way, receivers), *self._at_account(way, tenant_id)]
        entered: list[Desk] = []
        place = Place(way, entered, lambda: self._forget_empty(named))
        if not named:
            return place
        until_s = asyncio.get_running_loop().time() + PATIENCE_S
        for _, desk in named:
            desk.visitors += 1
        try:
            if self._is_kept_for_others(way, tenant_id):
                self._of_tenants.note_refusal()
                place.release()
                return None
            for _, desk in named:
                if not await desk.enter(until_s, is_bulk=is_bulk):
                    place.release()
                    return None
                entered.append(desk)
        except BaseException:
            place.release()
            raise
        return place

    def _is_kept_for_others(self, way: Provider, tenant_id: UUID) -> bool:
        """Whether the last places at tenants' accounts are not for one who has some already."""
        if way.account in self._platform or self._of_tenants.free > self._kept:
            return False
        return self._passing[tenant_id].taken > 0

    def _make(self, name: str, share: float, line: Line | None = None, key: str = "") -> Desk:
        return Desk(name, math.ceil(self._concurrency * share), self._clock, line, key)

    def _at_account(self, way: Provider, tenant_id: UUID) -> list[tuple[Hashable, Desk]]:
        if way.account in self._platform:
            desk = self._of_platform.get(way.account)
            return [] if desk is None else [(None, desk)]
        return [
            (way.account, self._get("own_account", way.account, _ACCOUNT_SHARE)),
            (tenant_id, self._get("tenant", tenant_id, _TENANT_SHARE)),
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
                self._passing[key] = Desk("receiver", limit, self._clock, self._line, way.account)
        return [(key, self._passing[key]) for key in keys]

    def _get(self, name: str, key: Hashable, share: float) -> Desk:
        desk = self._passing.get(key)
        if desk is None:
            desk = self._passing[key] = self._make(name, share, self._line, str(key))
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
