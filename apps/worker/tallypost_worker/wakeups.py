"""Knows which tenants have due work: told by NOTIFY at once, and looked up every second."""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Sequence
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from tallypost_core.ids import parse_id
from tallypost_domain.db.errors import AWAY, DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.emails.statements import QUEUE_CHANNEL
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.claims import list_due_tenants
from tallypost_domain.queue.types import Claim

REFRESH_EVERY_S = 1.0

_TIMEOUT_S = 5.0
_REMEMBERED_TURNS = 10_000

log = structlog.get_logger()


class DueTenants:
    """For each lane the tenants that may have due rows, the least recently served first.

    A missed or late notification costs up to a second, never an email: the list is refreshed
    from the queue itself.
    """

    def __init__(self, pool: Pool, url: str) -> None:
        """Both log in as tp_deliver; url is for the connection that listens."""
        self._pool = pool
        self._url = url
        # The number grows with every word about a tenant, so that one that comes while a claim
        # is under way is not forgotten with it.
        self._due: dict[Lane, dict[UUID, int]] = {lane: {} for lane in Lane}
        # When each tenant was last served, remembered beyond its stay on the list: else one that
        # sends a little all the time would always come before one that waits.
        self._turns: dict[Lane, OrderedDict[UUID, int]] = {lane: OrderedDict() for lane in Lane}
        self._next_turn = count(1)
        self._changed = {lane: asyncio.Event() for lane in Lane}

    async def wait(self, lane: Lane, timeout_s: float) -> None:
        """Return when there may be new due work in the lane, or after timeout_s seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed[lane].wait()
        except TimeoutError:
            return
        finally:
            self._changed[lane].clear()

    def wake(self, lane: Lane) -> None:
        """End a `wait`: something else than new work changed, such as a free slot."""
        self._changed[lane].set()

    def note(self, lane: Lane, tenant_ids: Sequence[UUID]) -> None:
        """Put tenants on the list, and end a `wait`: they may have due rows."""
        for tenant_id in tenant_ids:
            self._due[lane][tenant_id] = self._due[lane].get(tenant_id, 0) + 1
        if tenant_ids:
            self._changed[lane].set()

    def note_claim(self, claim: Claim) -> None:
        """As `note`, for an email that is due again."""
        self.note(Lane(claim.lane), [claim.tenant_id])

    def take(self, lane: Lane, limit: int) -> dict[UUID, int]:
        """Up to limit tenants to claim from, least recently served first, as of now."""
        due, turns = self._due[lane], self._turns[lane]
        taken = heapq.nsmallest(limit, due, key=lambda tenant_id: turns.get(tenant_id, 0))
        for tenant_id in taken:
            turns[tenant_id] = next(self._next_turn)
            turns.move_to_end(tenant_id)
        # Who is forgotten here was served longest ago, and goes first without a number as well.
        while len(turns) > _REMEMBERED_TURNS:
            turns.popitem(last=False)
        return {tenant_id: due[tenant_id] for tenant_id in taken}

    def forget(self, lane: Lane, tenant_id: UUID, as_of: int) -> None:
        """A claim found less than it asked for: nothing is due there until told otherwise.

        as_of is what `take` gave with the tenant; a later word keeps it on the list.
        """
        if self._due[lane].get(tenant_id) == as_of:
            del self._due[lane][tenant_id]

    async def listen(self, stop: asyncio.Event) -> None:
        """Take notifications until stop is set; a broken connection is made anew."""
        while not stop.is_set():
            try:
                await self._listen_on_one_connection(stop)
            except AWAY as error:
                log.warning("wakeups.interrupted", error=type(error).__name__)
                await asyncio.sleep(REFRESH_EVERY_S)

    async def refresh(self, stop: asyncio.Event) -> None:
        """Merge the tenants with due rows into the lists every second, until stop is set."""
        while not stop.is_set():
            try:
                for lane in Lane:
                    self.note(lane, await list_due_tenants(self._pool, lane))
            except DatabaseUnavailable as error:
                log.warning("wakeups.refresh_failed", error=error.code)
            await asyncio.sleep(REFRESH_EVERY_S)

    async def _listen_on_one_connection(self, stop: asyncio.Event) -> None:
        connection = await asyncpg.connect(self._url, timeout=_TIMEOUT_S)
        try:
            await connection.add_listener(QUEUE_CHANNEL, self._on_notification)
            while not stop.is_set():
                # A connection that died without a word would never tell anything again.
                await connection.execute("SELECT 1", timeout=_TIMEOUT_S)
                await asyncio.sleep(REFRESH_EVERY_S)
        finally:
            connection.terminate()

    def _on_notification(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        lane, _, tenant = str(payload).partition(" ")
        tenant_id = parse_id(tenant)
        if lane in set(Lane) and tenant_id is not None:
            self.note(Lane(lane), [tenant_id])
