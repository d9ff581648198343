"""Keeps pages up to date: sends a part of a page again whenever it has changed.

A view is a function that renders such a part. Readers of the same view share one task that renders
it again and again. Each message is the whole part as it is now and carries its hash, so a reader
who lost the connection misses nothing: coming back, it gets the newest one, unless that is the one
it has.
"""

import asyncio
import hashlib
import re
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias
from uuid import UUID

import structlog
from msgspec import Struct

from tallypost_console.errors import TooManyStreams
from tallypost_core.clock import monotonic_s
from tallypost_core.errors import AppError, ErrorKind

INTERVAL_S: Final = 0.5
HEARTBEAT_S: Final = 15.0
MAX_STREAMS: Final = 5
LONGEST_REST_S: Final = 10.0
"""Between two turns of a view that is away; the rest doubles up to this."""

# A view that takes long is rendered less often, so that it uses at most a fifth of a connection.
_REST_FACTOR: Final = 4
# Each of these ends a line of an event stream, so none can stand in one.
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")

View: TypeAlias = Callable[[], Awaitable[str]]
"""Renders a part of a page as it is now. The same for everybody who reads it. An error of kind
NOT_FOUND ends it."""

log = structlog.get_logger()


class Reader(Struct, frozen=True):
    """Whoever follows a view."""

    person_id: UUID
    is_welcome: Callable[[], Awaitable[bool]]
    """Asked at each heartbeat; False ends the stream."""


class LiveViews:
    """The views that somebody follows now, in this process."""

    def __init__(self, *, interval_s: float = INTERVAL_S, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._interval_s = interval_s
        self._heartbeat_s = heartbeat_s
        self._watches: dict[Hashable, _Watch] = {}
        self._streams: Counter[UUID] = Counter()
        self._is_closed = False

    def follow(
        self, reader: Reader, key: Hashable, view: View, last_id: str | None
    ) -> AsyncIterator[bytes]:
        """Server-sent events: the view now, unless last_id names it, and after each change.

        key names the view among all, with everything that it depends on. The stream counts from
        now until it ends, or until nobody holds it where it never begins. Raises TooManyStreams
        where the person follows MAX_STREAMS already.
        """
        if self._streams[reader.person_id] >= MAX_STREAMS:
            raise TooManyStreams
        return self._stream(reader, key, view, last_id, _Place(self._streams, reader.person_id))

    def close(self) -> None:
        """End all streams; readers come back by themselves."""
        self._is_closed = True
        for watch in self._watches.values():
            watch.stop()

    async def _stream(
        self, reader: Reader, key: Hashable, view: View, sent_id: str | None, place: "_Place"
    ) -> AsyncIterator[bytes]:
        with place, self._watching(key, view) as watch:
            # Answers at once, so that the page knows that it is live.
            yield b": live\n\n"
            asked_s = monotonic_s()
            while not self._is_closed:
                # However often the view changes, its reader is asked about in time.
                left_s = asked_s + self._heartbeat_s - monotonic_s()
                shown = await watch.wait_for_other(sent_id, left_s) if left_s > 0 else None
                if shown is not None:
                    sent_id = shown.id
                    yield shown.event
                elif not watch.has_ended and await reader.is_welcome():
                    asked_s = monotonic_s()
                    yield b": live\n\n"
                else:
                    return

    @contextmanager
    def _watching(self, key: Hashable, view: View) -> "Iterator[_Watch]":
        watch = self._watches.get(key)
        # One that has failed is not shared any more, even while a slow reader still holds it.
        if watch is None or watch.has_ended:
            watch = self._watches[key] = _Watch(view, self._interval_s)
        watch.readers += 1
        try:
            yield watch
        finally:
            watch.readers -= 1
            if not watch.readers:
                watch.stop()
                if self._watches.get(key) is watch:
                    del self._watches[key]


class _Place:
    """One of the streams that a person may follow; given back once."""

    def __init__(self, streams: Counter[UUID], person_id: UUID) -> None:
        streams[person_id] += 1
        # A generator that never began runs no `finally` of its own: it only drops what it holds.
        self._give_back = weakref.finalize(self, _give_back, streams, person_id)

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        self._give_back()


def _give_back(streams: Counter[UUID], person_id: UUID) -> None:
    streams[person_id] -= 1
    if not streams[person_id]:
        del streams[person_id]


class _Shown(Struct, frozen=True):
    """A view as it was rendered last."""

    id: str
    event: bytes


class _Watch:
    """One view, rendered for all its readers by one task."""

    def __init__(self, view: View, interval_s: float) -> None:
        self.readers = 0
        self._view = view
        self._interval_s = interval_s
        self._shown: _Shown | None = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._keep_rendering())
        self._task.add_done_callback(lambda _: self._announce())

    @property
    def has_ended(self) -> bool:
        """True where nothing more is rendered."""
        return self._task.done()

    def stop(self) -> None:
        """Render no more, and wake whoever waits."""
        self._task.cancel()

    async def wait_for_other(self, id_: str | None, timeout_s: float) -> _Shown | None:
        """The view as soon as it is not the one with this id; None after timeout_s or a stop.

        Raises whatever the view raised that nobody expected.
        """
        is_news = self._shown is not None and self._shown.id != id_
        # Of a task that is done nothing more is heard.
        if not is_news and not self.has_ended:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()
            except TimeoutError:
                return None
        if self.has_ended and not self._task.cancelled():
            self._task.result()
        return self._shown if self._shown is not None and self._shown.id != id_ else None

    async def _keep_rendering(self) -> None:
        rest_s, is_away = self._interval_s, False
        while True:
            started_s = monotonic_s()
            try:
                shown = _as_event(await self._view())
            except AppError as error:
                if error.kind is ErrorKind.NOT_FOUND:
                    # What it showed is gone. Readers who come back are told so by the page.
                    return
                # The page keeps what it shows; a later turn tries again.
                if not is_away:
                    log.warning("live.unavailable", error=error.code)
                rest_s, is_away = min(rest_s * 2, LONGEST_REST_S), True
            else:
                if is_away:
                    log.info("live.available")
                rest_s, is_away = self._interval_s, False
                if self._shown is None or self._shown.id != shown.id:
                    self._shown = shown
                    self._announce()
            took_s = monotonic_s() - started_s
            await asyncio.sleep(max(rest_s, took_s * _REST_FACTOR))

    def _announce(self) -> None:
        # Whoever waits holds the old event; the next one waits for the next change.
        self._changed.set()
        self._changed = asyncio.Event()


def _as_event(text: str) -> _Shown:
    body = text.encode()
    id_ = hashlib.sha256(body).hexdigest()[:16]
    # An empty part has a line too: a message without any is not delivered.
    lines = b"".join(b"data: " + line + b"\n" for line in _LINE_END.split(body))
    return _Shown(id_, b"id: " + id_.encode() + b"\n" + lines + b"\n")
