"""The provider accounts that this worker hands emails to, and how each of them is doing.

A delivery takes a place at an account before its email is made ready. It gets one only where
nothing speaks against the account: its breaker, its own rate, a pause that it asked for, or places
that are all held by handovers which do not end. Otherwise the next account is asked.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final
from uuid import UUID

import structlog

from tallypost_core.clock import monotonic_s
from tallypost_domain.queue.account_states import AccountCondition, AccountState
from tallypost_domain.queue.types import worst_outcome
from tallypost_providers.errors import ProviderBusy
from tallypost_providers.places import Places
from tallypost_providers.types import Outcome, Provider, SendResult
from tallypost_resilience.breaker import Breaker, GuardedCall
from tallypost_resilience.circuit import BreakerConfig, BreakerState, Verdict
from tallypost_resilience.limiter import Limiter

BREAKER: Final = BreakerConfig(
    window_s=15, min_calls=5, failure_rate=0.5, open_s=5, longest_open_s=60, probe_s=30
)
"""Of an account. A handover ends within 24 s, so a peer that hangs is found out within 30.

The window is shorter than most handovers to such a peer: else what it took before it began to hang
would still count when the first of them end, and outvote them.
"""

PATIENCE_S: Final = 2.0
"""How long a delivery waits for a place, keeping its own: nothing else could be sent meanwhile."""

log = structlog.get_logger()

# Of the process, where there are several accounts: what hangs at one leaves room for the others.
_SHARE: Final = 0.6
# Where all places are taken and none came free for so long, whoever holds them hangs.
_STUCK_S: Final = 2.0
# Where an account asks for a pause and does not say how long.
_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 600.0
# What an account says of one sender's mail.
_SENDER_PAUSES_S: Final[Mapping[Outcome, float]] = {
    Outcome.SUSPENDED: 60.0,
    Outcome.UNAVAILABLE: 5.0,
    Outcome.THROTTLED: _PAUSE_S,
}


def judge_handover(_: BaseException) -> Verdict:
    """An error says nothing about an account: adapters raise none for what a peer does."""
    return Verdict.NONE


class Place:
    """A place at an account, held while the block lasts."""

    __slots__ = ("_desk", "provider")

    def __init__(self, provider: Provider, desk: "_Desk | None") -> None:
        self.provider = provider
        self._desk = desk

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
        if self._desk is not None:
            self._desk.leave()


class _Desk:
    """The places of one account in this process."""

    def __init__(self, count: int, clock: Callable[[], float]) -> None:
        self._count = count
        self._places = Places(count)
        self._clock = clock
        self._moved_at_s = clock()

    @property
    def is_stuck(self) -> bool:
        """True where all places are taken and nobody has left for a while."""
        is_full = self._places.taken >= self._count
        return is_full and self._clock() - self._moved_at_s > _STUCK_S

    async def enter(self, *, is_bulk: bool) -> bool:
        """Wait for a place; False where none became free in time."""
        if self._places.taken == 0:
            self._moved_at_s = self._clock()
        try:
            await self._places.take(PATIENCE_S, is_bulk=is_bulk)
        except ProviderBusy:
            return False
        return True

    def leave(self) -> None:
        """Give the place to whoever waits longest."""
        self._moved_at_s = self._clock()
        self._places.give_back()


class Fleet:
    """All accounts of a worker process, and what their answers have taught."""

    def __init__(
        self,
        accounts: Sequence[Provider],
        *,
        concurrency: int,
        breaker: Breaker,
        limiter: Limiter,
        warm_share: float = 0.0,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        """concurrency is how many deliveries the process has under way at most; warm_share is of
        `router.candidates`."""
        self.warm_share = warm_share
        self._accounts = {account.account: account for account in accounts}
        self._breaker = breaker
        self._limiter = limiter
        self._clock = clock
        outside = [name for name, account in self._accounts.items() if _is_outside(account)]
        places = math.ceil(concurrency * _SHARE)
        # A lone account takes nothing from others.
        self._desks = {name: _Desk(places, clock) for name in outside} if len(outside) > 1 else {}
        # Until when an account, or a domain at an account, is not asked.
        self._paused: dict[tuple[str, UUID | None], float] = {}

    @property
    def platform(self) -> Sequence[str]:
        """The names of the platform's accounts, best first."""
        return tuple(self._accounts)

    @property
    def accounts(self) -> Mapping[str, Provider]:
        """By their names."""
        return self._accounts

    async def take(
        self, ways: Collection[Provider], domain_id: UUID, *, is_bulk: bool = False
    ) -> Place | None:
        """A place at the first account that may be asked now about mail from the domain.

        Where no account may be asked by anybody it waits for a moment, and where none may then,
        gives None. For a domain that is paused alone nobody waits: others need the delivery.
        """
        place = await self._take(ways, domain_id, is_bulk=is_bulk)
        if place is not None:
            return place
        wait_s = min(self._wait_s(way.account, None) for way in ways)
        if not wait_s:
            return None
        await asyncio.sleep(min(PATIENCE_S, wait_s))
        return await self._take(ways, domain_id, is_bulk=is_bulk)

    def is_ready(self, way: Provider, domain_id: UUID) -> bool:
        """Whether an account may be asked now about mail from the domain."""
        desk = self._desks.get(way.account)
        is_stuck = desk is not None and desk.is_stuck
        return not is_stuck and not self._wait_s(way.account, domain_id)

    def shortest_wait_s(self, ways: Iterable[Provider], domain_id: UUID) -> float:
        """How long until one of them may be asked, at least a moment."""
        return max(_PAUSE_S, min(self._wait_s(way.account, domain_id) for way in ways))

    def guard(self, provider: Provider) -> AbstractAsyncContextManager[GuardedCall]:
        """Around one handover to an account: tell the call by `learn` what came of it.

        Raises BreakerOpen in place of entering.
        """
        return self._breaker.guard(provider.account)

    def learn(
        self, call: GuardedCall, provider: Provider, domain_id: UUID, result: SendResult
    ) -> None:
        """Take in what an answer says about the account, or about this sender at it."""
        outcome, account = worst_outcome(result), provider.account
        if not result.was_asked:
            call.record_nothing()
        elif result.concerns == "sender" and outcome in _SENDER_PAUSES_S:
            pause_s = max(_asked_pause_s(result), _SENDER_PAUSES_S[outcome])
            self._pause(account, domain_id, pause_s)
        elif outcome is Outcome.SUSPENDED:
            call.record_down()
            error = result.evidence.get("error", "")
            log.warning("provider.suspended", provider=provider.name, account=account, error=error)
        elif outcome in {Outcome.UNAVAILABLE, Outcome.AMBIGUOUS}:
            call.record_failure()
        elif outcome is Outcome.THROTTLED:
            self._pause(account, None, max(_asked_pause_s(result), _PAUSE_S))
        if result.pause_s is not None:
            self._pause(account, None, result.pause_s)

    def states(self) -> list[AccountState]:
        """How each account that reaches outside does, as this process sees it."""
        return [self._state(account) for account in self._accounts.values() if _is_outside(account)]

    async def _take(
        self, ways: Iterable[Provider], domain_id: UUID, *, is_bulk: bool
    ) -> Place | None:
        for way in ways:
            if not self.is_ready(way, domain_id):
                continue
            desk = self._desks.get(way.account)
            if desk is not None and not await desk.enter(is_bulk=is_bulk):
                continue
            place = Place(way, desk)
            try:
                # Again, because waiting for the place may have taken a while.
                is_free = not self._wait_s(way.account, domain_id)
                is_free = is_free and await self._is_within_rate(way)
            except BaseException:
                place.release()
                raise
            if is_free:
                return place
            place.release()
        return None

    async def _is_within_rate(self, way: Provider) -> bool:
        rate_per_s = way.rate_per_s
        if rate_per_s is None:
            return True
        key = f"provider:{way.account}"
        decision = await self._limiter.take(key, rate_per_s, max(1, math.ceil(rate_per_s)))
        if not decision.allowed:
            self._pause(way.account, None, decision.retry_after_s)
        return decision.allowed

    def _pause(self, account: str, domain_id: UUID | None, pause_s: float) -> None:
        until_s = self._clock() + min(pause_s, _LONGEST_PAUSE_S)
        key = (account, domain_id)
        self._paused[key] = max(until_s, self._paused.get(key, 0.0))

    def _wait_s(self, account: str, domain_id: UUID | None) -> float:
        now_s = self._clock()
        waits = [self._breaker.wait_s(account)]
        for key in {(account, None), (account, domain_id)}:
            until_s = self._paused.get(key)
            if until_s is None:
                continue
            if until_s > now_s:
                waits.append(until_s - now_s)
            else:
                del self._paused[key]
        return max(waits)

    def _state(self, provider: Provider) -> AccountState:
        breaker = self._breaker.state(provider.account)
        wait_s = self._wait_s(provider.account, None)
        if breaker is not BreakerState.CLOSED:
            condition = AccountCondition(breaker.value)
        else:
            condition = AccountCondition.PAUSED if wait_s else AccountCondition.WELL
        return AccountState(provider.account, provider.name, condition, wait_s or None)


def _is_outside(account: Provider) -> bool:
    return account.capabilities.reaches_outside


def _asked_pause_s(result: SendResult) -> float:
    asked = (recipient.retry_after_s for recipient in result.recipients)
    return max((pause_s for pause_s in asked if pause_s is not None), default=0.0)
