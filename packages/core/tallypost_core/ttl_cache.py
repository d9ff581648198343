"""A small cache whose entries die by age; for answers that may be stale for a moment."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from tallypost_core import clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TTLCache(Generic[K, V]):
    """At most `size` entries, each for at most `ttl_s` seconds; the oldest makes room."""

    def __init__(self, *, size: int, ttl_s: float) -> None:
        self._size = size
        self._ttl_s = ttl_s
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def find(self, key: K) -> V | None:
        """The value put under key, or None where there is none or it is too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if clock.monotonic_s() - entry[0] >= self._ttl_s:
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: K, value: V, *, as_of_s: float | None = None) -> None:
        """Remember a value from now on, or from the earlier moment at which it was true.

        as_of_s is of `clock.monotonic_s`; an answer that took a while is that much older.
        """
        self._entries[key] = (clock.monotonic_s() if as_of_s is None else as_of_s, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def forget(self, key: K) -> None:
        """Drop one entry, if it is there."""
        self._entries.pop(key, None)
