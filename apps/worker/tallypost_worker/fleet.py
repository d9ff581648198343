"""The provider accounts that this worker hands emails to, and how each of them is doing.

An account is asked only where nothing speaks against it: its breaker, its own rate, a pause that
it asked for, or its share of this process. Whoever finds one of these in the way has sent nothing.
"""

import math
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from uuid import UUID

from tallypost_core.clock import monotonic_s
from tallypost_core.errors import AppError, ErrorKind
from tallypost_domain.queue.account_states import AccountCondition, AccountState
from tallypost_domain.queue.types import worst_outcome
from tallypost_providers.types import Outcome, Provider, SendResult
from tallypost_resilience.breaker import Breaker, GuardedCall
from tallypost_resilience.bulkhead import Bulkhead
from tallypost_resilience.circuit import BreakerConfig, BreakerState
from tallypost_resilience.deadline import Deadline
from tallypost_resilience.limiter import Limiter

BREAKER = BreakerConfig(
    window_s=30, min_calls=5, failure_rate=0.5, open_s=5, longest_open_s=60, probe_s=30
)
"""Of an account. A handover ends within 24 s, so a peer that hangs is found out within 30."""

# Of the process, where there are several accounts: what hangs at one leaves room for the others.
_SHARE = 0.6
# Where an account asks for a pause and does not say how long.
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0
_SENDER_PAUSE_S = 60.0


class AccountPaused(AppError):
    """The account asked for a pause, or its rate is used up."""

    code = "account_paused"
    kind = ErrorKind.UNAVAILABLE


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
        """concurrency is how many handovers the process has under way at most; warm_share is of
        `router.candidates`."""
        self.warm_share = warm_share
        self._accounts = {account.account: account for account in accounts}
        outside = sum(account.capabilities.reaches_outside for account in accounts)
        places = math.ceil(concurrency * _SHARE)
        # A lone account takes nothing from others.
        self._places = Bulkhead("providers", places=places, queue_limit=0) if outside > 1 else None
        self._breaker = breaker
        self._limiter = limiter
        self._clock = clock
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

    def find_ready(self, ways: Iterable[Provider], domain_id: UUID) -> Provider | None:
        """The first account that may be asked now about mail from the domain."""
        return next((way for way in ways if not self._wait_s(way.account, domain_id)), None)

    def shortest_wait_s(self, ways: Collection[Provider], domain_id: UUID) -> float:
        """How long until one of them may be asked."""
        return min(self._wait_s(way.account, domain_id) for way in ways)

    @asynccontextmanager
    async def turn(self, provider: Provider) -> AsyncIterator[GuardedCall]:
        """Around one handover to an account: tell the call by `learn` what came of it.

        Raises BulkheadFull, AccountPaused or BreakerOpen, each with the time to wait, in place of
        entering.
        """
        account = provider.account
        async with self._place(account):
            await self._take_from_rate(provider)
            async with self._breaker.guard(account) as call:
                yield call

    def learn(
        self, call: GuardedCall, provider: Provider, domain_id: UUID, result: SendResult
    ) -> None:
        """Take in what an answer says about the account."""
        outcome = worst_outcome(result)
        if outcome is Outcome.SUSPENDED:
            if result.concerns == "sender":
                self._pause(provider.account, domain_id, _SENDER_PAUSE_S)
            else:
                call.record_down()
        elif outcome in {Outcome.UNAVAILABLE, Outcome.AMBIGUOUS}:
            call.record_failure()
        pause_s = result.pause_s
        if pause_s is None and outcome is Outcome.THROTTLED:
            asked = (recipient.retry_after_s for recipient in result.recipients)
            pause_s = max((s for s in asked if s is not None), default=_PAUSE_S)
        if pause_s is not None:
            self._pause(provider.account, None, pause_s)

    def states(self) -> list[AccountState]:
        """How each account that reaches outside does, as this process sees it."""
        return [
            self._state(account)
            for account in self._accounts.values()
            if account.capabilities.reaches_outside
        ]

    def _state(self, provider: Provider) -> AccountState:
        breaker = self._breaker.state(provider.account)
        wait_s = self._wait_s(provider.account, None)
        if breaker is not BreakerState.CLOSED:
            condition = AccountCondition(breaker.value)
        else:
            condition = AccountCondition.PAUSED if wait_s else AccountCondition.WELL
        return AccountState(provider.account, provider.name, condition, wait_s or None)

    def _place(self, account: str) -> AbstractAsyncContextManager[None]:
        if self._places is None:
            return nullcontext()
        return self._places.place(account, Deadline.after(_PAUSE_S))

    async def _take_from_rate(self, provider: Provider) -> None:
        rate_per_s = provider.rate_per_s
        if rate_per_s is None:
            return
        key = f"provider:{provider.account}"
        decision = await self._limiter.take(key, rate_per_s, max(1, math.ceil(rate_per_s)))
        if not decision.allowed:
            raise AccountPaused(retry_after_s=decision.retry_after_s)

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
