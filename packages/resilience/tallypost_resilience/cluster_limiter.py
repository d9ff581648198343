"""Rate limits that hold for all processes together, counted in Redis.

Takes are coalesced: while one call to Redis is in flight the next takes gather, and go as one
call of one script. A busy process so pays one round trip for hundreds of requests, an idle one
pays nothing for waiting, because there is no timer.

Without Redis each process grants its share of every limit. Sharing needs the number of processes
as a setting: counting them in Redis would need Redis.
"""

import asyncio
import contextvars
import hashlib
import math
import struct
from collections.abc import Coroutine
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from tallypost_resilience.limiter import Decision, LocalLimiter, describe, require_limit
from tallypost_resilience.redis_client import REDIS_AWAY, REDIS_TIMEOUT_S, send_command
from tallypost_telemetry import metrics

# The braces put all keys into one slot of a Redis Cluster, because one script takes from several.
# A cluster then counts on one of its nodes, and its address must be that of this node.
_PREFIX: Final = "{tallypost:limits}:"
_SCRIPT: Final = Path(__file__).with_name("gcra.lua").read_text(encoding="utf-8")
_SCRIPT_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
# A script holds up everybody else at Redis: this many takes need about a millisecond.
_LARGEST_BATCH: Final = 512
_CHANCES: Final = 3
_ANSWER: Final = struct.Struct("<dd")
_FIRST_PROBE_S: Final = 0.25
_SLOWEST_PROBE_S: Final = 2.0
_PROBE_CONNECT_S: Final = 1.0

log = structlog.get_logger()


class _Take(NamedTuple):
    key: str
    rate_per_s: float
    burst: int
    cost: int
    answer: "asyncio.Future[Decision]"


class ClusterLimiter:
    """A limiter that counts in Redis, and by shares while Redis is away. One per process.

    Each process may grant a share of the burst once more when Redis goes away, and takes that
    were under way may count twice. A request waits for a Redis that does not answer only once:
    from then on a task in the background finds out when it is back.
    """

    def __init__(self, redis: Redis, *, processes: int, timeout_s: float = REDIS_TIMEOUT_S) -> None:
        """redis is of `redis_client.connect`; processes is how many share each limit.

        Where processes is too low the limits are too generous while Redis is away, and where it
        is too high they are too strict; otherwise it has no effect. timeout_s is for one call.
        """
        if processes < 1:
            raise ValueError("processes must be at least 1")
        self._redis = redis
        self._processes = processes
        self._timeout_s = timeout_s
        self._local = LocalLimiter()
        self._waiting: list[_Take] = []
        self._sender: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None

    @property
    def is_local(self) -> bool:
        """True while this process grants its share, because Redis is away."""
        return self._prober is not None

    async def take(self, key: str, rate_per_s: float, burst: int, cost: int = 1) -> Decision:
        """As `Limiter.take`. A caller that is cancelled before its call leaves takes nothing."""
        require_limit(rate_per_s, burst, cost)
        if self._prober is not None:
            metrics.record_limiter_takes("local", 1)
            return self._take_share(key, rate_per_s, burst, cost)
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Take(key, rate_per_s, burst, cost, answer))
        if self._sender is None:
            self._sender = _start(self._send_waiting())
        return await answer

    async def aclose(self) -> None:
        """End the tasks in the background; the client of Redis stays open.

        Who still waits is granted from this process's share.
        """
        tasks = [task for task in (self._sender, self._prober) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A task that was cancelled before it began has left all this undone.
        self._sender = self._prober = None
        self._answer_by_share(self._waiting)
        self._waiting.clear()

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:_LARGEST_BATCH]
                del self._waiting[:_LARGEST_BATCH]
                await self._send([take for take in batch if not take.answer.done()])
        finally:
            self._sender = None
            self._answer_by_share(self._waiting)
            self._waiting.clear()

    async def _send(self, batch: list[_Take]) -> None:
        """Answer each take of a batch, whatever happens meanwhile."""
        if not batch:
            return
        try:
            if self._prober is None:
                decisions = await self._decide_in_time(batch)
                metrics.record_limiter_takes("cluster", len(batch))
                for take, decision in zip(batch, decisions, strict=True):
                    if not take.answer.done():
                        take.answer.set_result(decision)
        except REDIS_AWAY as error:
            log.warning("limiter.switched", to="local", error=type(error).__name__)
            self._prober = _start(self._probe_until_back())
        finally:
            self._answer_by_share(batch)

    async def _decide_in_time(self, batch: list[_Take]) -> list[Decision]:
        """As `_decide`; raises TimeoutError where Redis does not answer within the timeout.

        What holds up this process's event loop is not Redis' fault. So this is no
        `asyncio.timeout`, which would cancel a call whose answer is there already; and where the
        timer itself comes late, Redis gets the time once more, but not for ever.
        """
        loop = asyncio.get_running_loop()
        call = asyncio.create_task(self._decide(batch))
        try:
            for _ in range(_CHANCES):
                due_s = loop.time() + self._timeout_s
                await asyncio.wait((call,), timeout=self._timeout_s)
                if call.done():
                    return call.result()
                if loop.time() - due_s < self._timeout_s / 4:
                    break
            raise TimeoutError
        finally:
            call.cancel()

    async def _decide(self, batch: list[_Take]) -> list[Decision]:
        numbers = chain.from_iterable(take[1:4] for take in batch)
        packed = struct.pack(f"<{3 * len(batch)}d", *numbers)
        keys = [_PREFIX + take.key for take in batch]
        arguments: tuple[int | str | bytes, ...] = (len(keys), *keys, packed)
        try:
            answers = await send_command(self._redis, "EVALSHA", _SCRIPT_SHA, *arguments)
        except NoScriptError:
            answers = await send_command(self._redis, "EVAL", _SCRIPT, *arguments)
        return [
            describe(reset_s, wait_s, rate_per_s=take.rate_per_s, burst=take.burst)
            for take, (reset_s, wait_s) in zip(batch, _ANSWER.iter_unpack(answers), strict=True)
        ]

    def _answer_by_share(self, batch: list[_Take]) -> None:
        unanswered = [take for take in batch if not take.answer.done()]
        for take in unanswered:
            take.answer.set_result(self._take_share(*take[:4]))
        if unanswered:
            metrics.record_limiter_takes("local", len(unanswered))

    def _take_share(self, key: str, rate_per_s: float, burst: int, cost: int) -> Decision:
        share = max(cost, math.ceil(burst / self._processes))
        return self._local.take_now(key, rate_per_s / self._processes, share, cost)

    async def _probe_until_back(self) -> None:
        delay_s = _FIRST_PROBE_S
        probe = _Take("probe", 1.0, 1, 1, asyncio.get_running_loop().create_future())
        try:
            while True:
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _SLOWEST_PROBE_S)
                try:
                    async with asyncio.timeout(_PROBE_CONNECT_S):
                        await self._redis.ping()
                    await self._decide_in_time([probe])
                except REDIS_AWAY:
                    continue
                log.warning("limiter.switched", to="cluster")
                return
        finally:
            self._prober = None


def _start(work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
    # The task serves many requests, so it must not log under the ids of the one that began it.
    return asyncio.create_task(work, context=contextvars.Context())
