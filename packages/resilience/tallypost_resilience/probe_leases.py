"""Leave to probe a peer, given in Redis to one process of the cluster at a time.

Redis being away refuses nobody: each process then probes by itself.
"""

import asyncio
from typing import Final

import structlog
from redis.asyncio import Redis

from tallypost_resilience.redis_client import REDIS_AWAY, send_command

_PREFIX: Final = "tallypost:probes"
# Only its holder may end a lease: it may have run out and be another's by now.
_KEEP: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

log = structlog.get_logger()


class ProbeLeases:
    """Leases by key, under a name that all processes share."""

    def __init__(self, redis: Redis, name: str, timeout_s: float) -> None:
        """redis is of `redis_client.connect`; timeout_s is for one call of it."""
        self._redis = redis
        self._name = name
        self._timeout_s = timeout_s

    async def take(self, key: str, token: str, hold_s: float) -> float:
        """Take the lease for at most hold_s seconds; seconds to wait where another holds it.

        0 means go ahead: the lease is taken, or Redis cannot say. token is the holder's own.
        """
        lease = self._lease(key)
        try:
            async with asyncio.timeout(self._timeout_s), self._redis.pipeline() as pipe:
                pipe.set(lease, token, nx=True, px=_milliseconds(hold_s))
                pipe.pttl(lease)
                is_taken, ttl_ms = await pipe.execute()
        except REDIS_AWAY as error:
            self._report(error)
            return 0.0
        return 0.0 if is_taken else max(ttl_ms, 1) / 1000

    async def keep(self, key: str, token: str, keep_s: float) -> None:
        """Hold the lease for keep_s seconds more, where it is still held; 0 gives it back."""
        keep_ms = _milliseconds(keep_s) if keep_s > 0 else 0
        try:
            async with asyncio.timeout(self._timeout_s):
                await send_command(self._redis, "EVAL", _KEEP, 1, self._lease(key), token, keep_ms)
        except REDIS_AWAY as error:
            # The lease runs out by itself.
            self._report(error)

    def _lease(self, key: str) -> str:
        return f"{_PREFIX}:{self._name}:{key}"

    def _report(self, error: Exception) -> None:
        log.warning("breaker.probes_alone", breaker=self._name, error=type(error).__name__)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
