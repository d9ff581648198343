"""A budget of time that is passed down, so that inner timeouts never exceed the outer one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from msgspec import Struct

from tallypost_core.clock import monotonic_s
from tallypost_core.errors import AppError, ErrorKind
from tallypost_telemetry import metrics

log = structlog.get_logger()


class DeadlineExceeded(AppError):
    """The time allowed for this is used up."""

    code = "deadline_exceeded"
    kind = ErrorKind.UNAVAILABLE


class Deadline(Struct, frozen=True):
    """A moment on this process's monotonic clock; never stored, never sent elsewhere."""

    at_s: float

    @classmethod
    def after(cls, timeout_s: float) -> "Deadline":
        """The moment timeout_s seconds from now; raises ValueError for a negative timeout."""
        if not timeout_s >= 0:
            raise ValueError("timeout_s must not be negative")
        return cls(monotonic_s() + timeout_s)

    @property
    def remaining_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at_s - monotonic_s())

    @property
    def is_over(self) -> bool:
        """True from the moment itself on."""
        return monotonic_s() >= self.at_s

    def earlier(self, timeout_s: float) -> "Deadline":
        """A deadline for a part: timeout_s from now, but no later than this one."""
        return Deadline(min(self.at_s, Deadline.after(timeout_s).at_s))

    def require(self) -> None:
        """Raise DeadlineExceeded where the time is used up."""
        if self.is_over:
            raise _exceeded()

    def clip(self, timeout_s: float) -> float:
        """The timeout for one step: timeout_s, or what is left where that is less.

        Raises DeadlineExceeded where nothing is left, because to many a library a timeout of 0
        means none at all.
        """
        remaining_s = self.at_s - monotonic_s()
        if remaining_s <= 0:
            raise _exceeded()
        return min(timeout_s, remaining_s)

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Cancel what runs inside once the time is used up, and raise DeadlineExceeded.

        A TimeoutError that the work raises by itself passes through unchanged.
        """
        self.require()
        try:
            async with asyncio.timeout(self.remaining_s) as scope:
                yield
        except TimeoutError as error:
            if scope.expired():
                raise _exceeded() from error
            raise


def _exceeded() -> DeadlineExceeded:
    metrics.record_deadline_exceeded()
    log.info("deadline.exceeded")
    return DeadlineExceeded()
