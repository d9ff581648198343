"""The delivery loop: claims due emails and keeps a fixed number of deliveries going.

It uses Postgres alone. Redis may be away for as long as it likes.
"""

import asyncio
from collections import Counter
from uuid import UUID

import structlog

from tallypost_core import clock
from tallypost_core.crypto import KeyRing
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.claims import claim_for_sending, list_held, release_claims
from tallypost_domain.queue.loading import load_claimed
from tallypost_domain.queue.types import Claim
from tallypost_telemetry import metrics
from tallypost_worker.delivery import LEAST_TIMEOUT_S, Delivery
from tallypost_worker.heartbeat import LEASE_MARGIN_S, Heartbeat
from tallypost_worker.ready_emails import MOST_BULK, ReadyEmails
from tallypost_worker.recorder import Recorder
from tallypost_worker.wakeups import DueTenants

POLL_EVERY_S = 1.0
"""How long the loop sleeps when nobody wakes it."""

# Claimed emails per delivery: enough that none waits for a claim, few enough that another worker
# is not kept from them.
_AHEAD = 2
_MAX_TENANTS = 50
# Of each round this share stays for bulk mail, so that a busy transactional lane never stops it.
_BULK_SHARE = 0.2
_RETRY_S = 1.0

log = structlog.get_logger()


class DeliveryLoop:
    """Claims for a worker process and delivers; one per process."""

    def __init__(
        self,
        pool: Pool,
        worker_id: UUID,
        peppers: KeyRing,
        *,
        delivery: Delivery,
        recorder: Recorder,
        heartbeat: Heartbeat,
        due: DueTenants,
        concurrency: int,
    ) -> None:
        """pool logs in as tp_deliver; concurrency is how many deliveries go on at a time."""
        self._pool = pool
        self._worker_id = worker_id
        self._peppers = peppers
        self._delivery = delivery
        self._recorder = recorder
        self._heartbeat = heartbeat
        self._due = due
        self._concurrency = concurrency
        # Bulk mail leaves room, so that a password reset is claimed at once.
        self._room = {
            Lane.TRANSACTIONAL: _AHEAD * concurrency,
            Lane.BULK: max(1, int(_AHEAD * concurrency * MOST_BULK)),
        }
        self._least_room = min(concurrency // 2 + 1, self._room[Lane.BULK])
        self._ready = ReadyEmails(concurrency)
        self._in_work: dict[UUID, Lane] = {}
        self._counts: Counter[Lane] = Counter()
        self._deliveries: list[asyncio.Task[None]] = []
        self._returning: list[Claim] = []
        # Tenants of a claim whose fate is unknown: it may have taken rows that nobody works on.
        self._unsure_of: set[UUID] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Claim and deliver until stop is set; a database that is away is tried again."""
        self._deliveries = [
            asyncio.create_task(self._deliver_for_ever()) for _ in range(self._concurrency)
        ]
        while not stop.is_set():
            try:
                await self.return_claims()
                claimed = await self._claim_round()
            except DatabaseUnavailable as error:
                log.warning("delivery.waits", error=error.code)
                await asyncio.sleep(_RETRY_S)
                continue
            if not claimed:
                await self._due.wait(POLL_EVERY_S)

    def begin_drain(self) -> None:
        """Let nothing more leave but what is marked."""
        self._recorder.stop_marking()
        self._returning += [email.claim for email in self._ready.remove_waiting()]

    async def wait_until_drained(self) -> None:
        """Return once nothing is under way; after `begin_drain`."""
        await self._ready.wait_until_done()

    async def abandon(self) -> None:
        """End what is still under way; nobody will know what came of it."""
        for task in self._deliveries:
            task.cancel()
        if self._deliveries:
            await asyncio.wait(self._deliveries)

    async def return_claims(self) -> None:
        """Give back what was claimed and is not worked on; raises DatabaseUnavailable."""
        if self._unsure_of:
            held = await list_held(self._pool, self._worker_id, self._unsure_of)
            known = {*self._in_work, *(claim.email_id for claim in self._returning)}
            self._returning += [claim for claim in held if claim.email_id not in known]
            self._unsure_of.clear()
        claims, self._returning = self._returning, []
        try:
            await release_claims(self._pool, self._worker_id, claims)
        except DatabaseUnavailable:
            self._returning += claims
            raise

    def _free(self, lane: Lane) -> int:
        """How many more emails of this lane may be claimed."""
        free = self._room[Lane.TRANSACTIONAL] - len(self._in_work)
        if lane is Lane.BULK:
            free = min(free, self._room[Lane.BULK] - self._counts[Lane.BULK])
        return free

    async def _claim_round(self) -> int:
        # What is claimed near the end of the lease could only be put off again.
        if self._heartbeat.remaining_s < LEASE_MARGIN_S + LEAST_TIMEOUT_S:
            return 0
        claimed = 0
        if self._is_worth_it(Lane.TRANSACTIONAL):
            free = self._free(Lane.TRANSACTIONAL)
            for_bulk = max(1, int(free * _BULK_SHARE)) if free > 1 else 0
            claimed = await self._claim_lane(Lane.TRANSACTIONAL, free - for_bulk)
        # After a claim for a backlog of other mail the rest is for bulk mail, however small.
        if claimed >= self._least_room // 2 or self._is_worth_it(Lane.BULK):
            claimed += await self._claim_lane(Lane.BULK, self._free(Lane.BULK))
        return claimed

    def _is_worth_it(self, lane: Lane) -> bool:
        """A claim for a single free place would cost as much as one for many, but is made while
        the worker has few emails of the lane: then there is no backlog of them."""
        free = self._free(lane)
        are_few = self._counts[lane] < max(1, self._concurrency // 10)
        return free >= self._least_room or (free > 0 and are_few)

    async def _claim_lane(self, lane: Lane, room: int) -> int:
        if room <= 0:
            return 0
        tenants = self._due.take(lane, min(_MAX_TENANTS, room))
        if not tenants:
            return 0
        quota = max(1, room // len(tenants))
        started_s = clock.monotonic_s()
        try:
            claims = await claim_for_sending(
                self._pool,
                self._worker_id,
                lane=lane,
                tenant_ids=list(tenants),
                quota=quota,
            )
        except DatabaseUnavailable:
            self._unsure_of.update(tenants)
            raise
        metrics.record_claim(len(claims), clock.monotonic_s() - started_s)
        found = Counter(claim.tenant_id for claim in claims)
        for tenant_id, as_of in tenants.items():
            if found[tenant_id] < quota:
                self._due.forget(lane, tenant_id, as_of)
        try:
            emails = await load_claimed(self._pool, claims, self._peppers)
        except BaseException:
            self._returning += claims
            raise
        for email in emails:
            self._in_work[email.claim.email_id] = lane
            self._counts[lane] += 1
            self._ready.put(email)
        return len(claims)

    async def _deliver_for_ever(self) -> None:
        while True:
            email = await self._ready.take()
            try:
                if not await self._delivery.deliver(email):
                    self._returning.append(email.claim)
            except Exception:
                # A mistake of ours. The row stays this worker's until the process ends, and the
                # sweep then says that its fate is unknown: nothing is lost, nothing is guessed.
                log.exception("delivery.crashed", email_id=str(email.claim.email_id))
            lane = self._in_work.pop(email.claim.email_id)
            self._counts[lane] -= 1
            self._ready.done(email)
            if self._free(lane) >= self._least_room:
                self._due.wake()
