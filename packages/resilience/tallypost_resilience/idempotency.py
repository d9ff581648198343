"""Doing something once, though it is asked for several times.

`fingerprint` and `is_usable_key` are the two halves of an idempotency key: by them a repeat of a
request is known. The answer to repeat is stored by whoever gives it, in the transaction of its
effect; nothing that is kept apart from the effect could be trusted to agree with it.

`SingleFlight` joins callers that ask for the same at the same time, inside one process.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

import msgspec
import structlog

from tallypost_telemetry import metrics

MAX_KEY_LENGTH: Final = 256

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

log = structlog.get_logger()


def is_usable_key(key: str) -> bool:
    """True where a client's idempotency key has 1 to MAX_KEY_LENGTH characters."""
    return 1 <= len(key) <= MAX_KEY_LENGTH


def fingerprint(request: object) -> bytes:
    """32 bytes that two requests share only where they mean the same.

    request is the decoded form, a Struct or JSON's own types: spacing, the order of keys in
    objects and fields that were ignored make no difference.
    """
    return hashlib.sha256(msgspec.json.encode(request, order="deterministic")).digest()


class SingleFlight(Generic[K, T]):
    """Runs an operation once for all who ask for its key while it runs.

    Nothing is remembered: who asks after the end starts it anew. In this process only.
    """

    def __init__(self, name: str) -> None:
        """name, a fixed word, goes to the metric and the log."""
        self._name = name
        self._flights: dict[K, _Flight[T]] = {}

    async def run(self, key: K, operation: Callable[[], Awaitable[T]]) -> T:
        """The operation's result, or its error, which all who wait for it share.

        It runs on to its end even where every caller is cancelled, so give it a deadline of its
        own. Callers with one key must mean the same operation: the first one's is run.
        """
        flight = self._flights.get(key)
        metrics.record_single_flight(self._name, "joined" if flight else "ran")
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(_run(operation)))
            flight.task.add_done_callback(lambda _: self._land(key))
        flight.listeners += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.listeners -= 1

    def __len__(self) -> int:
        """How many operations are running."""
        return len(self._flights)

    def _land(self, key: K) -> None:
        flight = self._flights.pop(key)
        if flight.listeners or flight.task.cancelled():
            return
        error = flight.task.exception()
        if error is not None:
            log.warning("single_flight.unheard", flight=self._name, error=type(error).__name__)


class _Flight(Generic[T]):
    def __init__(self, task: "asyncio.Task[T]") -> None:
        self.task = task
        self.listeners = 0


async def _run(operation: Callable[[], Awaitable[T]]) -> T:
    return await operation()
