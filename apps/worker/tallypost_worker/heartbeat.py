"""Keeps this worker's lease alive, and knows how much of it is left."""

import asyncio
from uuid import UUID

import asyncpg
import structlog

from tallypost_core import clock
from tallypost_domain.db.errors import AWAY
from tallypost_domain.queue.claims import BEAT_EVERY_S, LEASE_S, beat, sign_off

LEASE_MARGIN_S = 3.0
"""A handover ends this long before the lease does, so that there is time to record it."""

_TIMEOUT_S = 4.0
_RETRY_S = 1.0

log = structlog.get_logger()


class Heartbeat:
    """Beats every 5 s on a connection of its own, so that a busy pool never costs the lease."""

    def __init__(self, url: str, worker_id: UUID) -> None:
        """url logs in as tp_deliver."""
        self._url = url
        self._worker_id = worker_id
        self._beat_at_s: float | None = None
        self._fresh_since_s: float | None = None

    @property
    def remaining_s(self) -> float:
        """Seconds until others may free this worker's rows; 0 before the first beat."""
        if self._beat_at_s is None:
            return 0.0
        return max(0.0, self._beat_at_s + LEASE_S - clock.monotonic_s())

    @property
    def steady_s(self) -> float:
        """For how long the lease has held without a gap."""
        if self._fresh_since_s is None or self.remaining_s == 0:
            return 0.0
        return clock.monotonic_s() - self._fresh_since_s

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until stop is set; an unreachable database is tried again every second."""
        while not stop.is_set():
            try:
                await self._beat_on_one_connection(stop)
            except AWAY as error:
                log.warning("heartbeat.interrupted", error=type(error).__name__)
                await _wait(stop, _RETRY_S)

    async def sign_off(self) -> None:
        """Tell the others at once that this worker is gone."""
        connection = await asyncpg.connect(self._url, timeout=_TIMEOUT_S)
        try:
            await sign_off(connection, self._worker_id)
        finally:
            await connection.close(timeout=_TIMEOUT_S)

    async def _beat_on_one_connection(self, stop: asyncio.Event) -> None:
        connection = await asyncpg.connect(
            self._url, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S
        )
        try:
            while not stop.is_set():
                # Taken before the statement: the lease is never believed longer than it is.
                started_s = clock.monotonic_s()
                await beat(connection, self._worker_id)
                self._note_beat(started_s)
                await _wait(stop, BEAT_EVERY_S)
        finally:
            connection.terminate()

    def _note_beat(self, at_s: float) -> None:
        if self.remaining_s == 0:
            self._fresh_since_s = at_s
        self._beat_at_s = at_s


async def _wait(stop: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await stop.wait()
    except TimeoutError:
        return
