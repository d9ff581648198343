"""When to try again: a schedule that survives a restart, because it depends on a number only."""

import math
import random

from msgspec import Struct


class RetryPolicy(Struct, frozen=True):
    """Seconds before each retry, and how far chance may move them (a fraction, 0 to 1).

    Raises ValueError where a delay is not positive and finite, or jitter is out of range.
    """

    schedule_s: tuple[float, ...]
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not all(delay > 0 and math.isfinite(delay) for delay in self.schedule_s):
            raise ValueError("every delay of a schedule must be positive and finite")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter must be between 0 and 1")


def next_delay_s(
    policy: RetryPolicy, attempt: int, retry_after_s: float | None = None
) -> float | None:
    """Seconds to wait before the next attempt, or None when attempts are used up.

    attempt counts finished attempts and starts at 1. Jitter is uniform, at most ± policy.jitter.
    retry_after_s, the peer's wish, raises the delay but never beyond twice the scheduled one:
    a hostile endpoint must not be able to park a delivery.
    Raises ValueError if attempt < 1.
    """
    if attempt < 1:
        raise ValueError("attempt counts finished attempts and starts at 1")
    if attempt > len(policy.schedule_s):
        return None
    scheduled_s = policy.schedule_s[attempt - 1]
    # Chance only spreads load here; nobody gains by guessing it.
    factor = random.uniform(1 - policy.jitter, 1 + policy.jitter)  # noqa: S311
    delay_s = scheduled_s * factor
    if retry_after_s is not None and retry_after_s > delay_s:
        delay_s = min(retry_after_s, 2 * scheduled_s)
    return delay_s
