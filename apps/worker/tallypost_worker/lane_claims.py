"""The claims of one lane: taken for deliveries, loaded, and given back where nothing left."""

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
from tallypost_domain.queue.loading import LoadedEmail, load_claimed
from tallypost_domain.queue.types import Claim
from tallypost_telemetry import metrics
from tallypost_worker.delivery import LEAST_TIMEOUT_S
from tallypost_worker.heartbeat import LEASE_MARGIN_S, Heartbeat
from tallypost_worker.ready_emails import ReadyEmails
from tallypost_worker.wakeups import DueTenants

POLL_EVERY_S = 1.0
"""How long a lane sleeps when nobody wakes it."""

_MAX_TENANTS = 50
_RETRY_S = 1.0

log = structlog.get_logger()


class LaneClaims:
    """What a worker has claimed of one lane and not finished."""

    def __init__(
        self,
        lane: Lane,
        pool: Pool,
        worker_id: UUID,
        peppers: KeyRing,
        *,
        heartbeat: Heartbeat,
        due: DueTenants,
        ready: ReadyEmails,
        room: int,
    ) -> None:
        """pool logs in as tp_deliver; room is how many emails are claimed at most."""
        self._lane = lane
        self._pool = pool
        self._worker_id = worker_id
        self._peppers = peppers
        self._heartbeat = heartbeat
        self._due = due
        self._ready = ready
        self._room = room
        # A claim for a single free place would cost as much as one for many. It is made while the
        # worker has few emails of the lane: then there is no backlog of them.
        self._least_room = room // 4 + 1
        self._few = max(1, room // 20)
        self._in_work: set[UUID] = set()
        self._returning: list[Claim] = []
        # Tenants of a claim whose fate is unknown: it may have taken rows that nobody works on.
        self._unsure_of: set[UUID] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Claim until stop is set; a database that is away is tried again."""
        while not stop.is_set():
            try:
                # Claimed before it may move, mail of the lane would only be in the way.
                await self._ready.right_of_way.wait_until_open(self._lane)
                await self.return_unsent()
                claimed = await self._claim()
            except DatabaseUnavailable as error:
                log.warning("delivery.waits", error=error.code, lane=self._lane)
                await asyncio.sleep(_RETRY_S)
                continue
            if not claimed:
                await self._due.wait(self._lane, POLL_EVERY_S)

    def done(self, email: LoadedEmail, *, is_unsent: bool) -> None:
        """An email is finished; an unsent one is to be given back."""
        self._in_work.remove(email.claim.email_id)
        if is_unsent:
            self._returning.append(email.claim)
        if self._room - len(self._in_work) >= self._least_room:
            self._due.wake(self._lane)

    async def return_unsent(self) -> None:
        """Give back what was claimed and is not worked on; raises DatabaseUnavailable."""
        if self._unsure_of:
            held = await list_held(self._pool, self._worker_id, self._unsure_of)
            known = {*self._in_work, *(claim.email_id for claim in self._returning)}
            self._returning += [
                claim for claim in held if claim.lane == self._lane and claim.email_id not in known
            ]
            self._unsure_of.clear()
        claims, self._returning = self._returning, []
        try:
            await release_claims(self._pool, self._worker_id, claims)
        except DatabaseUnavailable:
            self._returning += claims
            raise

    async def _claim(self) -> int:
        # What is claimed near the end of the lease could only be put off again.
        if self._heartbeat.remaining_s < LEASE_MARGIN_S + LEAST_TIMEOUT_S:
            return 0
        free = self._room - len(self._in_work)
        are_few = len(self._in_work) < self._few
        if free < (1 if are_few else self._least_room):
            return 0
        tenants = self._due.take(self._lane, min(_MAX_TENANTS, free))
        if not tenants:
            return 0
        with self._ready.right_of_way.passing(self._lane):
            claims = await self._claim_from(tenants, max(1, free // len(tenants)))
            try:
                emails = await load_claimed(self._pool, claims, self._peppers)
            except BaseException:
                self._returning += claims
                raise
            for email in emails:
                self._in_work.add(email.claim.email_id)
                self._ready.put(email)
        return len(claims)

    async def _claim_from(self, tenants: dict[UUID, int], quota: int) -> list[Claim]:
        started_s = clock.monotonic_s()
        try:
            claims = await claim_for_sending(
                self._pool,
                self._worker_id,
                lane=self._lane,
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
                self._due.forget(self._lane, tenant_id, as_of)
        return claims
