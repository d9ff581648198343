"""The provider accounts that this worker hands emails to, and how each of them is doing.

A delivery takes a place at an account before its email is made ready. It gets one only where
nothing speaks against the account: its breaker, its own rate, a pause that it asked for, or places
that are all held by handovers which do not end. Otherwise the next account is asked. Where its
places are merely in use, the email waits.

Accounts that tenants have of their own are treated in the same way, by their ids; the fleet knows
of one what its answers have taught, and nothing else.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final
from uuid import UUID
from weakref import WeakSet

import structlog

from tallypost_core.clock import monotonic_s
from tallypost_domain.queue.account_states import AccountCondition, AccountState
from tallypost_domain.queue.types import worst_outcome
from tallypost_providers.types import Outcome, Provider, SendResult
from tallypost_resilience.breaker import Breaker, GuardedCall
from tallypost_resilience.circuit import BreakerConfig, BreakerState, Verdict
from tallypost_resilience.limiter import Limiter
from tallypost_worker.desks import PATIENCE_S, Desks, Place

BREAKER: Final = BreakerConfig(
    window_s=15, min_calls=5, failure_rate=0.5, open_s=5, longest_open_s=60, probe_s=30
)
"""Of an account. A handover ends within 24 s, so a peer that hangs is found out within 30.

The window is shorter than most handovers to such a peer: else what it took before it began to hang
would still count when the first of them end, and outvote them.
"""

log = structlog.get_logger()

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
        self.concurrency = concurrency
        self.warm_share = warm_share
        self._accounts = {account.account: account for account in accounts}
        self._breaker = breaker
        self._limiter = limiter
        self._clock = clock
        self._desks = Desks(accounts, concurrency, clock)
        self._former: WeakSet[Provider] = WeakSet()
        # Until when an account, or a domain at an account, is not asked.
        self._paused: dict[tuple[str, UUID | None], float] = {}
        # Until when an account has had as many emails as its rate allows; this is no trouble that
        # anybody has to be told of.
        self._rate_used_until_s: dict[str, float] = {}

    @property
    def platform(self) -> Sequence[str]:
        """The names of the platform's accounts, best first."""
        return tuple(self._accounts)

    @property
    def accounts(self) -> Mapping[str, Provider]:
        """The platform's, by their names."""
        return self._accounts

    async def take(
        self,
        ways: Collection[Provider],
        domain_id: UUID,
        *,
        tenant_id: UUID,
        receivers: Collection[str] = (),
        is_bulk: bool = False,
    ) -> Place | None:
        """A place at the first account that may be asked now about mail from the domain.

        receivers are the domains of the recipients. Where an account of the platform may be asked
        by nobody it waits for a moment, and where none may then, gives None. For a domain that is
        paused alone, or a tenant's own account, nobody waits: others need the delivery.
        """
        place = await self._take(ways, domain_id, tenant_id, receivers, is_bulk=is_bulk)
        if place is not None:
            return place
        wait_s = min(self._wait_s(way.account, None) for way in ways)
        if not wait_s or all(way.account not in self._accounts for way in ways):
            return None
        await asyncio.sleep(min(PATIENCE_S, wait_s))
        return await self._take(ways, domain_id, tenant_id, receivers, is_bulk=is_bulk)

    def is_ready(self, way: Provider, domain_id: UUID) -> bool:
        """Whether an account may be asked now about mail from the domain."""
        return not self._desks.is_stuck(way) and not self._wait_s(way.account, domain_id)

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
        if provider in self._former:
            return
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

    def forget(self, provider: Provider) -> None:
        """Begin anew with an account that another one takes the place of, or none does.

        What its last handovers still say is about what it was.
        """
        self._former.add(provider)
        self._breaker.forget(provider.account)
        for key in [key for key in self._paused if key[0] == provider.account]:
            del self._paused[key]
        self._rate_used_until_s.pop(provider.account, None)

    def states(self) -> list[AccountState]:
        """How each account of the platform that reaches outside does, as this process sees it."""
        return [
            self.state_of(account) for account in self._accounts.values() if _is_outside(account)
        ]

    def state_of(self, provider: Provider) -> AccountState:
        """How one account does, the platform's or a tenant's."""
        breaker = self._breaker.state(provider.account)
        wait_s = self._trouble_s(provider.account, None)
        if breaker is not BreakerState.CLOSED:
            condition = AccountCondition(breaker.value)
        else:
            condition = AccountCondition.PAUSED if wait_s else AccountCondition.WELL
        return AccountState(provider.account, provider.name, condition, wait_s or None)

    async def _take(
        self,
        ways: Iterable[Provider],
        domain_id: UUID,
        tenant_id: UUID,
        receivers: Collection[str],
        *,
        is_bulk: bool,
    ) -> Place | None:
        for way in ways:
            if not self.is_ready(way, domain_id):
                continue
            place = await self._desks.enter(way, tenant_id, receivers, is_bulk=is_bulk)
            if place is None:
                # One that is merely busy gets its mail later: nobody else is to have it. The same
                # goes for receivers that have all they may: others would be as slow for them.
                if not self._desks.is_stuck(way):
                    return None
                continue
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
            self._rate_used_until_s[way.account] = self._clock() + decision.retry_after_s
        return decision.allowed

    def _pause(self, account: str, domain_id: UUID | None, pause_s: float) -> None:
        until_s = self._clock() + min(pause_s, _LONGEST_PAUSE_S)
        key = (account, domain_id)
        self._paused[key] = max(until_s, self._paused.get(key, 0.0))

    def _wait_s(self, account: str, domain_id: UUID | None) -> float:
        rate_used_s = self._rate_used_until_s.get(account, 0.0) - self._clock()
        return max(rate_used_s, self._trouble_s(account, domain_id))

    def _trouble_s(self, account: str, domain_id: UUID | None) -> float:
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


def _is_outside(account: Provider) -> bool:
    return account.capabilities.reaches_outside


def _asked_pause_s(result: SendResult) -> float:
    asked = (recipient.retry_after_s for recipient in result.recipients)
    return max((pause_s for pause_s in asked if pause_s is not None), default=0.0)
