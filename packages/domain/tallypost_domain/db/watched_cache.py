"""Remembers answers of the database about tenants until they change.

An answer serves for less than a second whatever happens, and for a minute while a ChangeFeed is
certain that nothing it heard of concerns the tenant. So a change is felt within a second on every
process, also on one whose feed is cut off or frozen; such a process only asks more often.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from tallypost_core import clock
from tallypost_domain.db.notifications import ChangeFeed

UNWATCHED_S: Final = 0.9
"""For how long an answer serves without a feed, from when it was asked for."""
WATCHED_S: Final = 60.0

# Who comes while an answer is on its way waits for the same one, unless that is too old already.
_JOIN_WITHIN_S = 0.3

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Answer(NamedTuple, Generic[V]):
    """What the database said, and whose change would make it untrue."""

    tenant_id: UUID
    value: V


class _Entry(NamedTuple, Generic[V]):
    answer: Answer[V]
    asked_at_s: float
    is_watched: bool


class _Question(NamedTuple, Generic[V]):
    asked_at_s: float
    task: "asyncio.Task[V]"


class WatchedCache(Generic[K, V]):
    """At most `size` answers; the oldest makes room."""

    def __init__(self, feed: ChangeFeed | None, *, size: int, tables: Collection[str]) -> None:
        """tables are those that the answers are made from; without a feed nothing is watched."""
        self._feed = feed
        self._size = size
        self._tables = frozenset(tables)
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._keys_of: dict[UUID, set[K]] = {}
        self._questions: dict[K, _Question[V]] = {}
        if feed is not None:
            feed.subscribe(self)

    def find(self, key: K) -> V | None:
        """The answer to key, or None where there is none that still serves."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        age_s = clock.monotonic_s() - entry.asked_at_s
        if age_s < UNWATCHED_S or (entry.is_watched and age_s < WATCHED_S and self._is_current()):
            return entry.answer.value
        return None

    async def get(self, key: K, ask: Callable[[], Awaitable[Answer[V]]]) -> V:
        """The answer to key, asked for where none serves; those who ask at once share one answer.

        Raises what `ask` raises, which is not remembered.
        """
        value = self.find(key)
        if value is not None:
            return value
        question = self._questions.get(key)
        if question is None or clock.monotonic_s() - question.asked_at_s > _JOIN_WITHIN_S:
            question = self._questions[key] = self._ask(key, ask)
        # Who gives up waiting takes nothing from the others.
        return await asyncio.shield(question.task)

    def forget_tenant(self, table: str, tenant_id: UUID) -> None:
        """Drop what was answered about a tenant, where it was made from this table."""
        if table in self._tables:
            for key in self._keys_of.pop(tenant_id, ()):
                del self._entries[key]

    def forget_all(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self._keys_of.clear()

    def _is_current(self) -> bool:
        return self._feed is not None and self._feed.is_current

    def _ask(self, key: K, ask: Callable[[], Awaitable[Answer[V]]]) -> _Question[V]:
        task = asyncio.create_task(self._remember(key, ask))
        question = _Question(clock.monotonic_s(), task)

        def finish(done: "asyncio.Task[V]") -> None:
            if self._questions.get(key) is question:
                del self._questions[key]
            if not done.cancelled():
                # Seen here also where everybody who waited has gone.
                done.exception()

        task.add_done_callback(finish)
        return question

    async def _remember(self, key: K, ask: Callable[[], Awaitable[Answer[V]]]) -> V:
        asked_at_s = clock.monotonic_s()
        changes = self._feed.changes if self._feed is not None else 0
        answer = await ask()
        # What was announced while the answer was on its way may be newer than the answer.
        is_watched = self._feed is not None and self._feed.changes == changes
        self._put(key, _Entry(answer, asked_at_s, is_watched))
        return answer.value

    def _put(self, key: K, entry: _Entry[V]) -> None:
        known = self._entries.get(key)
        if known is not None and known.asked_at_s > entry.asked_at_s:
            return
        self._drop(key)
        self._entries[key] = entry
        self._keys_of.setdefault(entry.answer.tenant_id, set()).add(key)
        while len(self._entries) > self._size:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        keys = self._keys_of[entry.answer.tenant_id]
        keys.discard(key)
        if not keys:
            del self._keys_of[entry.answer.tenant_id]
