"""A process that opens a breaker and then calls its peer whenever it may.

Arguments: address of Redis, what becomes of the calls (`fail`, `succeed` or `hang`), seconds that
the breaker stays open, seconds that a probe may hold, seconds to go on. Reports the moments, on
the machine's clock, between which each call was under way; one that hangs, when it begins. Ends
after its first call that succeeds.
"""

import asyncio
import contextlib
import sys
import time

from tallypost_core.settings import Secret
from tallypost_resilience.breaker import Breaker, BreakerOpen
from tallypost_resilience.circuit import BreakerConfig, BreakerState
from tallypost_resilience.redis_client import connect
from tests.integration.resilience.reporting import report, wait_for_start

KEY = "account"
CALL_S = 0.2


async def main(url: str, fate: str, open_s: float, probe_s: float, duration_s: float) -> None:
    """Open, call, report."""
    config = BreakerConfig(min_calls=1, open_s=open_s, probe_s=probe_s)
    async with connect(Secret(url)) as redis:
        # A loaded machine is not a slow Redis.
        breaker = Breaker("test", config, redis=redis, redis_timeout_s=30)
        # The connection is made before the measured time.
        await redis.ping()
        wait_for_start()
        while breaker.state(KEY) is BreakerState.CLOSED:
            with contextlib.suppress(OSError):
                async with breaker.guard(KEY):
                    raise OSError
        ends_at = time.monotonic() + duration_s
        calls: list[tuple[float, float]] = []
        while time.monotonic() < ends_at and not (calls and fate == "succeed"):
            with contextlib.suppress(BreakerOpen, OSError):
                async with breaker.guard(KEY):
                    began_at = time.monotonic()
                    if fate == "hang":
                        report("hangs")
                        await asyncio.Event().wait()
                    await asyncio.sleep(CALL_S)
                    calls.append((began_at, time.monotonic()))
                    if fate == "fail":
                        raise OSError
            await asyncio.sleep(0.005)
        report(calls)


if __name__ == "__main__":
    url, fate, *numbers = sys.argv[1:]
    open_s, probe_s, duration_s = map(float, numbers)
    asyncio.run(main(url, fate, open_s, probe_s, duration_s))
