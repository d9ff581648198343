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
from tallypost_worker.delivery_spans import receiving
from tallypost_worker.heartbeat import LEASE_MARGIN_S, Heartbeat
from tallypost_worker.ready_emails import ReadyEmails
from tallypost_worker.wakeups import DueTenants

POLL_EVERY_S = 1.0
"""How long a lane sleeps when nobody wakes it."""

_MAX_TENANTS = 50
_RETRY_S = 1.0
# A row that cannot be read waits for somebody who mends it.
_UNLOADABLE_RETRY_S = 3600.0

_Hold = tuple[UUID, int]

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
        # A claim for a single free place would cost as much as one for many.
        self._least_room = room // 4 + 1
        # A row that was taken from this worker and claimed by it again is in here twice, with two
        # fences.
        self._in_work: set[_Hold] = set()
        self._returning: list[Claim] = []
        self._unloadable: list[Claim] = []
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
        self._in_work.remove(_hold(email.claim))
        if is_unsent:
            self._returning.append(email.claim)
        if self._room - len(self._in_work) >= self._least_room:
            self._due.wake(self._lane)

    async def return_unsent(self) -> None:
        """Give back what was claimed and is not worked on; raises DatabaseUnavailable."""
        if self._unsure_of:
            held = await list_held(self._pool, self._worker_id, self._unsure_of)
            known = {*self._in_work, *map(_hold, self._returning), *map(_hold, self._unloadable)}
            self._returning += [
                claim for claim in held if claim.lane == self._lane and _hold(claim) not in known
            ]
            self._unsure_of.clear()
        await self._release(self._returning)
        await self._release(self._unloadable, due_in_s=_UNLOADABLE_RETRY_S)

    async def _release(self, claims: list[Claim], *, due_in_s: float | None = None) -> None:
        """Give back what is on the list; it stays there until that is done."""
        given_back = claims[:]
        await release_claims(self._pool, self._worker_id, given_back, due_in_s=due_in_s)
        del claims[: len(given_back)]

    async def _claim(self) -> int:
        # What is claimed near the end of the lease could only be put off again.
        if self._heartbeat.remaining_s < LEASE_MARGIN_S + LEAST_TIMEOUT_S:
            return 0
        free = self._room - len(self._in_work)
        if free < self._least_room:
            return 0
        tenants = self._due.take(self._lane, min(_MAX_TENANTS, free))
        if not tenants:
            return 0
        started_s = clock.monotonic_s()
        with self._ready.right_of_way.passing(self._lane):
            claims = await self._claim_from(tenants, max(1, free // len(tenants)))
            emails = await self._load(claims)
            for email in emails:
                self._in_work.add(_hold(email.claim))
                self._ready.put(email)
        receiving(emails, started_s)
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

    async def _load(self, claims: list[Claim]) -> list[LoadedEmail]:
        try:
            return await load_claimed(self._pool, claims, self._peppers)
        except (asyncio.CancelledError, DatabaseUnavailable):
            self._returning += claims
            raise
        except Exception:
            # The edge of a round of claims: one row that cannot be read, whatever is wrong with
            # it, must not hold up the others.
            log.exception("delivery.round_not_loaded")
            return await self._load_one_by_one(claims)

    async def _load_one_by_one(self, claims: list[Claim]) -> list[LoadedEmail]:
        emails: list[LoadedEmail] = []
        for number, claim in enumerate(claims):
            try:
                emails += await load_claimed(self._pool, [claim], self._peppers)
            except (asyncio.CancelledError, DatabaseUnavailable):
                self._returning += [*(email.claim for email in emails), *claims[number:]]
                raise
            except Exception:
                log.exception("delivery.not_loaded", email_id=str(claim.email_id))
                self._unloadable.append(claim)
        return emails


def _hold(claim: Claim) -> _Hold:
    return claim.email_id, claim.fence
