"""Feeds one subscriber from the database, at nobody else's expense."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import structlog

from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.subscribers.feeding import (
    claim_events,
    claim_lost_event,
    count_events,
    register,
)
from tallypost_domain.subscribers.types import ALONE, WORKER_LOST, ClaimedEvents, EventClaim
from tallypost_resilience.retry import RetryPolicy
from tallypost_telemetry import metrics
from tallypost_worker.subscriber_outcomes import Outcomes
from tallypost_worker.subscriber_places import Places
from tallypost_worker.subscriber_thread import SubscriberThread

IN_FLIGHT: Final = 32
"""Events that one subscriber has at a time in one worker."""

REGISTER_EVERY_S: Final = 60.0
MEASURE_EVERY_S: Final = 30.0
POLL_EVERY_S: Final = 0.5
"""How often is asked for due events where nothing else happens."""

_RETRY_S: Final = 1.0
_BEHIND_OTHERS_S: Final = 0.01
# A subscriber ends what takes too long by itself. One that has not by then blocks its thread.
_GRACE_S: Final = 1.0
# Within what the worker takes to drain, beside which it happens.
_DRAIN_LIMIT_S: Final = 2.0
_CLOSE_LIMIT_S: Final = 4.0

log = structlog.get_logger()


class Feeder:
    """Feeds one subscriber.

    One task claims, passes on and records by turns. While it waits for the database more events
    end, so that a turn serves the more of them the busier it is.
    """

    def __init__(
        self,
        pool: Pool,
        name: str,
        environ: Mapping[str, str],
        policy: RetryPolicy,
        timeout_s: float,
        places: Places,
    ) -> None:
        """pool logs in as tp_worker; places are those of all feeders of the process."""
        self._pool = pool
        self._name = name
        self._environ = environ
        self._attempts = len(policy.schedule_s) + 1
        self._timeout_s = timeout_s
        self._places = places
        self._outcomes = Outcomes(pool, name, policy)
        self._thread: SubscriberThread | None = None
        self._thread_started_s = 0.0
        self._in_flight: dict[asyncio.Task[None], EventClaim] = {}
        # Whose time is over and who have not come back.
        self._overdue: set[asyncio.Task[None]] = set()
        # The one that has the process to itself.
        self._lone: asyncio.Task[None] | None = None
        self._is_lost_next = False
        self._claiming: asyncio.Task[ClaimedEvents] | None = None
        self._changed = asyncio.Event()
        places.join(self._changed.set)
        self._registered_at_s: float | None = None
        self._measured_at_s: float | None = None
        self._was_hanging = False

    async def run(self) -> None:
        """Feed until cancelled; then let what is under way end, and give the rest back."""
        try:
            while True:
                self._changed.clear()
                await self._wait(await self._take_turn())
        finally:
            await self._stop()

    async def _take_turn(self) -> float:
        """One turn; returns the seconds until the next one, if nothing happens before."""
        try:
            await self._register()
            self._keep_thread()
            await self._outcomes.write()
            delay_s = await self._claim()
            await self._measure()
        except DatabaseUnavailable as error:
            log.warning("subscriber.waits", subscriber=self._name, error=error.code)
        except Exception:
            # The edge of this task: a subscriber is not worth the deliveries beside it.
            log.exception("subscriber.turn_failed", subscriber=self._name)
        else:
            return delay_s
        return _RETRY_S

    def _keep_thread(self) -> None:
        thread = self._thread
        if thread is not None and thread.ended.done() and thread.ready.result():
            # It ended by itself, which only a subscriber can bring about.
            log.error("subscriber.thread_ended", subscriber=self._name)
            thread = None
        if thread is None:
            thread = SubscriberThread(self._name, self._environ, self._timeout_s)
            # Python may have none to give: then the next turn tries again.
            thread.start()
            self._thread = thread
            self._thread_started_s = asyncio.get_running_loop().time()
            thread.ready.add_done_callback(lambda _: self._changed.set())
            thread.ended.add_done_callback(lambda _: self._changed.set())

    async def _register(self) -> None:
        """Keep events coming, also for one that cannot be loaded, and tell whether it hangs."""
        now_s = asyncio.get_running_loop().time()
        is_hanging = bool(self._overdue) or self._is_late(now_s)
        has_changed = is_hanging != self._was_hanging
        is_fresh = (
            self._registered_at_s is not None and now_s - self._registered_at_s < REGISTER_EVERY_S
        )
        if is_fresh and not has_changed:
            return
        # Only who said that it hangs takes it back.
        word = is_hanging if is_hanging or has_changed else None
        await register(self._pool, self._name, is_hanging=word)
        self._registered_at_s, self._was_hanging = now_s, is_hanging
        metrics.record_subscriber_hanging(self._name, is_hanging)
        if has_changed:
            say = log.error if is_hanging else log.info
            say("subscriber.hangs" if is_hanging else "subscriber.is_back", subscriber=self._name)
        thread = self._thread
        if thread is not None and thread.ended.done() and thread.problem is not None:
            # Whoever looks hours later finds why its events wait.
            log.error("subscriber.not_loaded", subscriber=self._name, problem=thread.problem)

    def _is_late(self, now_s: float) -> bool:
        """Whether even making it takes too long."""
        thread = self._thread
        is_made = thread is None or thread.ready.done()
        return not is_made and now_s - self._thread_started_s > self._timeout_s

    async def _measure(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._measured_at_s is not None and now_s - self._measured_at_s < MEASURE_EVERY_S:
            return
        self._measured_at_s = now_s
        waiting, dead = await count_events(self._pool, self._name)
        metrics.record_subscriber_backlog(self._name, waiting, dead)

    async def _claim(self) -> float:
        thread = self._thread
        free = IN_FLIGHT - len(self._in_flight)
        if self._lone is not None:
            return POLL_EVERY_S
        if thread is None or thread.ended.done() or not thread.ready.done() or free <= 0:
            self._is_lost_next = False
            self._places.leave_alone(self)
            return POLL_EVERY_S
        if self._is_lost_next:
            return await self._claim_lost(thread)
        return await self._claim_among_others(thread, free)

    async def _claim_among_others(self, thread: SubscriberThread, free: int) -> float:
        if not self._places.enter(free):
            return POLL_EVERY_S
        begun = 0
        try:
            claimed = await self._claim_shielded(claim_events(self._pool, self._name, free))
            for claim in claimed.claims:
                begun += self._begin(thread, claim) is not None
        finally:
            self._places.leave(free - begun)
        self._is_lost_next = claimed.is_lost_next
        if claimed.is_lost_next:
            return 0.0
        # Where another worker took what was listed, more may be due behind it.
        took_less = claimed.may_be_more and len(claimed.claims) < free
        return _BEHIND_OTHERS_S if took_less else POLL_EVERY_S

    async def _claim_lost(self, thread: SubscriberThread) -> float:
        if not self._places.enter_alone(self):
            # The last one that leaves its place lets the next turn begin.
            return POLL_EVERY_S
        self._is_lost_next = False
        try:
            claimed = await self._claim_shielded(claim_lost_event(self._pool, self._name))
            for claim in claimed.claims:
                if claim.lost_as == ALONE and claim.attempt > self._attempts:
                    self._outcomes.note(claim, WORKER_LOST)
                else:
                    self._lone = self._begin(thread, claim)
        finally:
            if self._lone is None:
                self._places.leave_alone(self)
        return 0.0 if self._lone is None else POLL_EVERY_S

    # Any: of no meaning in a coroutine that is awaited.
    async def _claim_shielded(self, claiming: Coroutine[Any, Any, ClaimedEvents]) -> ClaimedEvents:
        """The end of the worker does not cut a claim off, which may be committed: see `_stop`."""
        self._claiming = asyncio.create_task(claiming)
        await asyncio.wait({self._claiming})
        ended, self._claiming = self._claiming, None
        return ended.result()

    def _begin(self, thread: SubscriberThread, claim: EventClaim) -> asyncio.Task[None] | None:
        """Pass an event on; None where it is not stored any more."""
        if claim.event is None:
            self._outcomes.drop(claim)
            return None
        task = asyncio.create_task(self._feed(thread.begin(claim.event), claim))
        self._in_flight[task] = claim
        task.add_done_callback(self._forget_task)
        return task

    async def _feed(self, outcome: asyncio.Future[str | None], claim: EventClaim) -> None:
        await asyncio.wait({outcome}, timeout=self._timeout_s + _GRACE_S)
        if outcome.done():
            self._outcomes.note(claim, outcome.result())
            return
        self._outcomes.note(claim, TimeoutError.__name__)
        # It stays under way until it comes back: little more is fed to who hangs.
        task = next(task for task, own in self._in_flight.items() if own is claim)
        self._leave_place(task)
        self._overdue.add(task)
        self._changed.set()
        await asyncio.wait({outcome})
        if outcome.result() is None:
            # It did handle the event, which then need not come again.
            self._outcomes.note(claim, None)

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        if task not in self._overdue:
            self._leave_place(task)
        del self._in_flight[task]
        self._overdue.discard(task)
        self._changed.set()

    def _leave_place(self, task: asyncio.Task[None]) -> None:
        if task is self._lone:
            self._lone = None
            self._places.leave_alone(self)
        else:
            self._places.leave(1)

    async def _wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _stop(self) -> None:
        try:
            await self._drain()
            self._give_back()
            async with asyncio.timeout(_DRAIN_LIMIT_S):
                await self._outcomes.write()
        except Exception as error:
            # The edge of this task. What is left is due again when its lease ends.
            log.warning("subscriber.not_drained", subscriber=self._name, error=type(error).__name__)
        finally:
            self._places.leave_alone(self)
            await self._stop_thread()

    async def _drain(self) -> None:
        """Let what is under way end, a claim as well, if it does soon."""
        under_way: set[asyncio.Task[Any]] = set(self._in_flight) - self._overdue
        if self._claiming is not None:
            under_way.add(self._claiming)
        if under_way:
            await asyncio.wait(under_way, timeout=_DRAIN_LIMIT_S)

    def _give_back(self) -> None:
        """What has not ended, or not begun, comes again at once and is not counted."""
        for task, claim in list(self._in_flight.items()):
            if task not in self._overdue:
                self._outcomes.give_back(claim)
            task.cancel()
        claiming = self._claiming
        # One that failed took nothing.
        if claiming is not None and claiming.done() and claiming.exception() is None:
            for claim in claiming.result().claims:
                self._outcomes.give_back(claim)

    async def _stop_thread(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            done, _ = await asyncio.wait({self._thread.ended}, timeout=_CLOSE_LIMIT_S)
            if not done:
                log.warning("subscriber.left_behind", subscriber=self._name)
