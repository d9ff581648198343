"""When to try again: a schedule that survives a restart, because it depends on a number only.

`next_delay_s` is for work that is stored between attempts. `retrying` uses the same schedule
inside one process, for calls that are done in seconds.
"""

import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
import stamina.instrumentation
import structlog
from msgspec import Struct

from tallypost_core.errors import AppError
from tallypost_resilience.deadline import Deadline
from tallypost_telemetry import metrics

T = TypeVar("T")

log = structlog.get_logger()

# By default stamina logs the text of the error, which may quote an address or a body; `retrying`
# logs what is safe. The setting is the library's only one and global, and this is its only user.
stamina.instrumentation.set_on_retry_hooks(())


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


async def retrying(
    operation: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    name: str,
    on: type[Exception] | tuple[type[Exception], ...],
    deadline: Deadline,
) -> T:
    """Run an operation until it succeeds, and return its result.

    Only for operations that may happen twice: an attempt that failed may have had its effect.
    name, a fixed word, goes to the metric and the log. `on` are the errors that may pass by
    themselves; any other is raised at once. An AppError's retry_after_s is the peer's wish.
    The last error is raised when attempts are used up, or when the next one would begin at or
    after the deadline. An attempt that the deadline ends is cancelled and raises
    DeadlineExceeded.
    """
    attempts = 0

    def decide(error: Exception) -> float | bool:
        if not isinstance(error, on):
            return False
        wish_s = error.retry_after_s if isinstance(error, AppError) else None
        delay_s = next_delay_s(policy, attempts, wish_s)
        if delay_s is None or delay_s >= deadline.remaining_s:
            return False
        metrics.record_retry(name)
        log.info(
            "retry.scheduled",
            operation=name,
            attempt=attempts,
            delay_s=delay_s,
            error=type(error).__name__,
        )
        return delay_s

    async for attempt in stamina.retry_context(on=decide, attempts=None, timeout=None):
        with attempt:
            attempts = attempt.num
            async with deadline.enforced():
                return await operation()
    raise AssertionError("the loop ends by a result or an error")
