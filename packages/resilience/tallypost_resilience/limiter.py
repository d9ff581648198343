"""Rate limits by GCRA: a steady rate with a burst, in one number for each key.

The algorithm keeps, for each key, the time at which its bucket would be full again. A request
moves that time on by cost / rate; it is refused where this would reach further than
burst / rate ahead. That equals a bucket of `burst` tokens refilled at `rate`, without a timer.
"""

import math
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from tallypost_core.clock import monotonic_s

TOLERANCE_S = 1e-6
"""Floats round. A caller who keeps exactly to the rate, or waits exactly as long as it was told,
is not refused for that."""


class Decision(Struct, frozen=True):
    """Whether a request may pass, and what the rate-limit headers say about it."""

    allowed: bool
    limit: int
    """The burst: what an idle key may take at once."""
    remaining: int
    """What could be taken right after this."""
    reset_s: float
    """Seconds until the whole burst is free again."""
    retry_after_s: float
    """Seconds until the same request would pass; 0 where it did."""


class Limiter(Protocol):
    """Takes from the allowance of a key, in one process or in the whole cluster."""

    async def take(self, key: str, rate_per_s: float, burst: int, cost: int = 1) -> Decision:
        """Take cost from the key's allowance, or nothing at all where it does not suffice.

        rate_per_s and burst may differ from one call to the next. Raises ValueError for a rate
        that is not positive and finite, a burst below 1, or a cost outside 1 to burst.
        """
        ...


class LocalLimiter:
    """A limiter that counts in this process only.

    Memory is bounded: idle keys are dropped as others are used, and beyond max_keys the key
    that was used least recently is forgotten, which gives it a fresh burst.
    """

    def __init__(
        self, *, max_keys: int = 100_000, clock: Callable[[], float] = monotonic_s
    ) -> None:
        """max_keys is at least 1; clock gives seconds and never goes back."""
        if max_keys < 1:
            raise ValueError("max_keys must be at least 1")
        self._max_keys = max_keys
        self._clock = clock
        # Least recently used first, which is the order of insertion.
        self._full_at: dict[str, float] = {}

    async def take(self, key: str, rate_per_s: float, burst: int, cost: int = 1) -> Decision:
        """As `Limiter.take`; never waits."""
        return self.take_now(key, rate_per_s, burst, cost)

    def take_now(self, key: str, rate_per_s: float, burst: int, cost: int = 1) -> Decision:
        """As `take`, for callers that cannot await."""
        now = self._clock()
        full_at, decision = decide(
            now, self._full_at.get(key, now), rate_per_s=rate_per_s, burst=burst, cost=cost
        )
        self._full_at.pop(key, None)
        self._full_at[key] = full_at
        self._evict(now)
        return decision

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._full_at)

    def _evict(self, now: float) -> None:
        # Two for each one added, so that idle keys go faster than new ones can come. One that is
        # long in filling holds up those behind it; then max_keys is the bound.
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._max_keys:
                return
            del self._full_at[oldest]


def decide(
    now_s: float, full_at_s: float, *, rate_per_s: float, burst: int, cost: int
) -> tuple[float, Decision]:
    """The rule itself: the new time at which the key's bucket is full, and the decision.

    Raises ValueError as `Limiter.take` says.
    """
    require_limit(rate_per_s, burst, cost)
    per_unit_s = 1 / rate_per_s
    before_s = max(full_at_s, now_s)
    after_s = before_s + cost * per_unit_s
    wait_s = after_s - burst * per_unit_s - now_s
    # An empty bucket is exactly empty, so that rounding errors of many requests do not add up.
    full_at = min(after_s, now_s + burst * per_unit_s) if wait_s <= TOLERANCE_S else before_s
    return full_at, describe(full_at - now_s, wait_s, rate_per_s=rate_per_s, burst=burst)


def require_limit(rate_per_s: float, burst: int, cost: int) -> None:
    """Raise ValueError where the numbers mean nothing, as `Limiter.take` says."""
    if not (rate_per_s > 0 and math.isfinite(rate_per_s)):
        raise ValueError("rate_per_s must be positive and finite")
    if not 1 <= cost <= burst:
        raise ValueError("cost must be at least 1 and at most burst")


def describe(reset_s: float, wait_s: float, *, rate_per_s: float, burst: int) -> Decision:
    """The decision for a bucket that is full in reset_s, on a request that had to wait wait_s."""
    allowed = wait_s <= TOLERANCE_S
    return Decision(
        allowed=allowed,
        limit=burst,
        remaining=max(0, math.floor(burst - (reset_s - TOLERANCE_S) * rate_per_s)),
        reset_s=reset_s,
        retry_after_s=0.0 if allowed else wait_s,
    )
