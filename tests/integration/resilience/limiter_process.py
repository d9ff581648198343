"""A process that takes from one key as fast as it can for some seconds.

Arguments: address of Redis, key, rate, burst, seconds, number of processes, seconds to wait for
Redis. Reports how many takes were allowed, and moments of the machine's clock between which the
first and the last of them were decided.
"""

import asyncio
import math
import sys
import time

from tallypost_core.settings import Secret
from tallypost_resilience.cluster_limiter import ClusterLimiter
from tallypost_resilience.redis_client import connect
from tests.integration.resilience.reporting import report, wait_for_start

CALLERS = 8


class Caller:
    """Takes until the time is over and a take was refused, so that nothing is left untaken."""

    def __init__(self, limiter: ClusterLimiter, key: str, rate: float, burst: int) -> None:
        self._limiter = limiter
        self._limit = (key, rate, burst)
        self.allowed = 0
        self.first_answer_at = math.inf
        self.last_call_at = 0.0
        self.was_local = False

    async def run(self, until: float) -> None:
        """Take again and again."""
        is_allowed = True
        while is_allowed or time.monotonic() < until:
            self.last_call_at = time.monotonic()
            is_allowed = (await self._limiter.take(*self._limit)).allowed
            self.first_answer_at = min(self.first_answer_at, time.monotonic())
            self.allowed += is_allowed
            self.was_local |= self._limiter.is_local
            # A refusal by this process's own count never waits.
            await asyncio.sleep(0.001)


async def main(
    url: str, key: str, rate: float, burst: int, duration_s: float, processes: int, timeout_s: float
) -> None:
    """Take, and report."""
    async with connect(Secret(url)) as redis:
        limiter = ClusterLimiter(redis, processes=processes, timeout_s=timeout_s)
        # Connections and imports are made before the measured time.
        await limiter.take(f"{key}:warm", 1, 1)
        callers = [Caller(limiter, key, rate, burst) for _ in range(CALLERS)]
        wait_for_start()
        started_at = time.monotonic()
        await asyncio.gather(*(caller.run(started_at + duration_s) for caller in callers))
        report(
            {
                "allowed": sum(caller.allowed for caller in callers),
                "started_at": started_at,
                "first_answer_at": min(caller.first_answer_at for caller in callers),
                "last_call_at": max(caller.last_call_at for caller in callers),
                "ended_at": time.monotonic(),
                "was_local": any(caller.was_local for caller in callers),
            }
        )
        await limiter.aclose()


if __name__ == "__main__":
    url, key, *numbers = sys.argv[1:]
    rate, burst, duration_s, processes, timeout_s = map(float, numbers)
    asyncio.run(main(url, key, rate, int(burst), duration_s, int(processes), timeout_s))
