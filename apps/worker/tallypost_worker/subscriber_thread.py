"""A subscriber in a thread of its own, with an event loop of its own.

What it does there, and what it fails to do, costs nobody else their turn in the worker's loop. A
thread cannot be ended from outside: one that does not come back is left alone, and does not keep
the process from ending.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import structlog

from tallypost_core.plugin_events import (
    CLOSE_LIMIT_S,
    StoredEvent,
    Subscriber,
    SubscriberMisconfigured,
)
from tallypost_core.subscriber_registry import create_subscriber

THREAD_ENDED: Final = "ThreadEnded"
"""The kind of error of an event that was under way when the thread ended."""

log = structlog.get_logger()


class SubscriberThread:
    """Lives in the worker's loop, and passes events to the other one.

    The plugin is imported there too: a module may take its time as well.
    """

    def __init__(self, name: str, environ: Mapping[str, str], timeout_s: float) -> None:
        """timeout_s is what the subscriber gets for each event."""
        self._name = name
        self._environ = environ
        self._timeout_s = timeout_s
        self._outside = asyncio.get_running_loop()
        self._inside: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._is_stopped = False
        self._tasks: set[asyncio.Task[str | None]] = set()
        self._outcomes: set[asyncio.Future[str | None]] = set()
        self._subscriber: Subscriber | None = None
        self.ready: asyncio.Future[bool] = self._outside.create_future()
        """Whether there is a subscriber; the log says why not."""
        self.ended: asyncio.Future[None] = self._outside.create_future()
        """Done once the thread is gone."""
        self.problem: str | None = None
        """Why there is no subscriber, where `ready` says so."""
        # A daemon: Python waits for all others when the process ends.
        self._thread = threading.Thread(target=self._run, name=f"subscriber-{name}", daemon=True)

    def start(self) -> None:
        """Begin to make the subscriber; `ready` tells when it is there."""
        self._thread.start()

    def begin(self, event: StoredEvent) -> asyncio.Future[str | None]:
        """Tell the subscriber of an event; only once it is ready.

        The future is done when the subscriber came back, however late: with the kind of its error,
        with None where all went well, or with THREAD_ENDED where it never will.
        """
        outcome: asyncio.Future[str | None] = self._outside.create_future()
        if self._inside is None or self._subscriber is None or self.ended.done():
            outcome.set_result(THREAD_ENDED)
            return outcome
        self._outcomes.add(outcome)
        outcome.add_done_callback(self._outcomes.discard)
        begin = partial(self._begin_inside, self._subscriber, event, outcome)
        try:
            self._inside.call_soon_threadsafe(begin)
        except RuntimeError:
            # It has ended, and its word about that is on the way.
            outcome.set_result(THREAD_ENDED)
        return outcome

    def stop(self) -> None:
        """Have the subscriber close and the thread end, if it can; `ended` tells when it has."""
        # Also for one that is still being made, which looks at this last of all.
        self._is_stopped = True
        if self._inside is not None and self._stopping is not None:
            try:
                self._inside.call_soon_threadsafe(self._stopping.set)
            except RuntimeError:
                # The same.
                return

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            # The edge of the thread. A module may call `sys.exit`, a subscriber may stop the loop.
            kind = type(error).__name__
            self.problem = f"its thread ended by {kind}"
            log.error("subscriber.thread_failed", subscriber=self._name, error=kind)  # noqa: TRY400 - what it says may be anything
        finally:
            self._tell(self._note_end)

    async def _serve(self) -> None:
        try:
            subscriber = create_subscriber(self._name, self._environ)
        except SubscriberMisconfigured as error:
            self.problem = error.message
            log.error("subscriber.not_loaded", subscriber=self._name, problem=error.message)  # noqa: TRY400 - a sentence of ours
            return
        self._subscriber = subscriber
        self._stopping = asyncio.Event()
        self._inside = asyncio.get_running_loop()
        self._tell(_settle, self.ready, True)
        if not self._is_stopped:
            await self._stopping.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await subscriber.close()
        except Exception as error:
            # The edge to a plugin's code.
            log.warning("subscriber.not_closed", subscriber=self._name, error=_kind(error))

    def _begin_inside(
        self, subscriber: Subscriber, event: StoredEvent, outcome: asyncio.Future[str | None]
    ) -> None:
        task = asyncio.create_task(self._handle(subscriber, event))
        self._tasks.add(task)
        task.add_done_callback(partial(self._end_inside, outcome))

    def _end_inside(
        self, outcome: asyncio.Future[str | None], task: asyncio.Task[str | None]
    ) -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError.__name__ if task.cancelled() else task.result()
        self._tell(_settle, outcome, error)

    async def _handle(self, subscriber: Subscriber, event: StoredEvent) -> str | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await subscriber.handle(event)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # The edge to a plugin's code. `sys.exit` in there would end the thread.
            return _kind(error)
        return None

    def _note_end(self) -> None:
        _settle(self.ready, False)
        _settle(self.ended, None)
        for outcome in list(self._outcomes):
            _settle(outcome, THREAD_ENDED)

    # Any: the arguments of a callback.
    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._outside.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            # The worker has ended meanwhile; nobody is there to be told.
            return


def _settle(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _kind(error: BaseException) -> str:
    # Never its words, which may quote an address.
    return type(error).__name__[:100]
