"""The delivery loop: claims due emails and carries each to its provider and on record.

It uses Postgres alone. One task an email: assemble, wait for the mark, hand over, give the
result to the recorder. Whatever fails before the mark has not left and is simply due again.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import structlog
from msgspec import Struct

from tallypost_core import clock
from tallypost_core.crypto import CryptoError, KeyRing
from tallypost_core.errors import AppError
from tallypost_core.object_store import ObjectNotFound
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.emails.lifecycle import RecipientEvent
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.claims import claim_for_sending, list_held, release_claims
from tallypost_domain.queue.loading import LoadedEmail, load_claimed
from tallypost_domain.queue.types import Claim
from tallypost_providers.base import same_for_all
from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.router import choose
from tallypost_providers.types import Outcome, OutgoingEmail, Provider
from tallypost_telemetry import metrics
from tallypost_worker.assembly import Assembler, memory_bytes
from tallypost_worker.heartbeat import Heartbeat
from tallypost_worker.memory_budget import MemoryBudget
from tallypost_worker.recorder import Recorder
from tallypost_worker.settlements import (
    given_up,
    handed_over,
    permanent_reason,
    postponed,
    storable,
    unsent,
)
from tallypost_worker.wakeups import DueTenants

POLL_EVERY_S = 1.0
"""How long the loop sleeps when nobody wakes it."""

# Claimed emails per handover slot: enough that a slot never waits for a claim, few enough that
# another worker is not kept from them.
_AHEAD = 2
_MAX_TENANTS = 50
# Of each round this share stays for bulk mail, so that a busy transactional lane never stops it.
_BULK_SHARE = 0.2
_MEMORY_BYTES = 256_000_000
# A handover must end while the lease still holds, with time to record it.
_LEASE_MARGIN_S = 3.0
_LEAST_TIMEOUT_S = 1.0
_RETRY_S = 1.0
# Something else of ours is away (object store, key ring, every provider account).
_OUTAGE_RETRY_S = 30.0

log = structlog.get_logger()


class Delivery(Struct, frozen=True, kw_only=True):
    """What the loop works with."""

    pool: Pool
    worker_id: UUID
    peppers: KeyRing
    providers: Sequence[Provider]
    assembler: Assembler
    recorder: Recorder
    heartbeat: Heartbeat
    due: DueTenants
    concurrency: int
    handover_timeout_s: float


class DeliveryLoop:
    """Runs deliveries; one per worker process."""

    def __init__(self, delivery: Delivery) -> None:
        self._with = delivery
        self._slots = asyncio.Semaphore(delivery.concurrency)
        self._memory = MemoryBudget(_MEMORY_BYTES)
        self._running: dict[asyncio.Task[None], UUID] = {}
        self._returning: list[Claim] = []
        # Tenants of a claim whose fate is unknown: it may have taken rows that nobody works on.
        self._unsure_of: set[UUID] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Claim and deliver until stop is set; a database that is away is tried again."""
        while not stop.is_set():
            try:
                await self.return_claims()
                claimed = await self._claim_round()
            except DatabaseUnavailable as error:
                log.warning("delivery.waits", error=error.code)
                await asyncio.sleep(_RETRY_S)
                continue
            if not claimed:
                await self._with.due.wait(POLL_EVERY_S)

    async def drain(self) -> None:
        """Let nothing more leave, and wait for what is under way."""
        self._with.recorder.stop_marking()
        if self._running:
            await asyncio.wait(set(self._running))

    async def abandon(self) -> None:
        """End what is still under way; nobody will know what came of it."""
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def return_claims(self) -> None:
        """Give back what was claimed and is not worked on; raises DatabaseUnavailable."""
        if self._unsure_of:
            held = await list_held(self._with.pool, self._with.worker_id, self._unsure_of)
            known = {*self._running.values(), *(claim.email_id for claim in self._returning)}
            self._returning += [claim for claim in held if claim.email_id not in known]
            self._unsure_of.clear()
        claims, self._returning = self._returning, []
        try:
            await release_claims(self._with.pool, self._with.worker_id, claims)
        except DatabaseUnavailable:
            self._returning += claims
            raise

    async def _claim_round(self) -> int:
        room = _AHEAD * self._with.concurrency - len(self._running)
        # A claim for a single free slot would cost as much as one for many.
        if room < self._with.concurrency // 2 + 1:
            return 0
        # What is claimed near the end of the lease could only be put off again.
        if self._with.heartbeat.remaining_s < _LEASE_MARGIN_S + _LEAST_TIMEOUT_S:
            return 0
        for_bulk = max(1, int(room * _BULK_SHARE))
        claimed = await self._claim_lane(Lane.TRANSACTIONAL, room - for_bulk)
        return claimed + await self._claim_lane(Lane.BULK, room - claimed)

    async def _claim_lane(self, lane: Lane, room: int) -> int:
        tenants = self._with.due.take(lane, min(_MAX_TENANTS, room))
        if not tenants:
            return 0
        quota = max(1, room // len(tenants))
        started_s = clock.monotonic_s()
        try:
            claims = await claim_for_sending(
                self._with.pool,
                self._with.worker_id,
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
                self._with.due.forget(lane, tenant_id, as_of)
        try:
            emails = await load_claimed(self._with.pool, claims, self._with.peppers)
        except BaseException:
            self._returning += claims
            raise
        for email in emails:
            task = asyncio.create_task(self._deliver(email))
            self._running[task] = email.claim.email_id
            task.add_done_callback(self._finished)
        return len(claims)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        del self._running[task]
        self._with.due.wake()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # A mistake of ours. The row stays this worker's until the process ends, and the
            # sweep then says that its fate is unknown: nothing is lost, nothing is guessed.
            log.error("delivery.crashed", exc_info=error)

    async def _deliver(self, email: LoadedEmail) -> None:
        if email.hold_reason or all(to.is_suppressed for to in email.recipients):
            self._with.recorder.record(unsent(email, self._with.worker_id))
            return
        async with self._slots, self._memory.reserve(memory_bytes(email)):
            try:
                provider = choose(self._with.providers, email.mode)
                outgoing = await self._with.assembler.assemble(email)
            except (AppError, CryptoError, ObjectNotFound) as error:
                self._give_up_or_wait(email, email.claim, error)
                return
            except Exception as error:
                # The edge of one email's work. Whatever is wrong with it, nothing has left, and
                # the row must not stay with a worker that does nothing about it.
                log.exception("delivery.crashed", email_id=str(email.claim.email_id))
                self._give_up_or_wait(email, email.claim, error)
                return
            claim = await self._with.recorder.mark(email.claim)
            if claim is None:
                self._returning.append(email.claim)
                return
            await self._hand_over(email, claim, outgoing, provider)

    async def _hand_over(
        self, email: LoadedEmail, claim: Claim, outgoing: OutgoingEmail, provider: Provider
    ) -> None:
        lease_s = self._with.heartbeat.remaining_s - _LEASE_MARGIN_S
        timeout_s = min(self._with.handover_timeout_s, lease_s)
        if timeout_s < _LEAST_TIMEOUT_S:
            self._with.recorder.record(postponed(email, claim, self._with.worker_id))
            return
        started_s = clock.monotonic_s()
        try:
            result = storable(await provider.send(outgoing, timeout_s), outgoing)
        except EmailNotBuildable as error:
            self._give_up_or_wait(email, claim, error)
            return
        except Exception:
            # The edge to code that may be a plugin's. What it did before it broke is unknown.
            log.exception("delivery.provider_crashed", provider=provider.name)
            result = same_for_all(outgoing, Outcome.AMBIGUOUS, phase="crashed")
        duration_s = clock.monotonic_s() - started_s
        self._with.recorder.record(
            handed_over(email, claim, self._with.worker_id, provider, result, duration_s)
        )
        metrics.record_handover(
            provider.name, [to.outcome.value for to in result.recipients], duration_s
        )

    def _give_up_or_wait(self, email: LoadedEmail, claim: Claim, error: Exception) -> None:
        reason = permanent_reason(error)
        if reason is None:
            log.warning("delivery.postponed", error=type(error).__name__)
            retry_in_s = _RETRY_S if isinstance(error, DatabaseUnavailable) else _OUTAGE_RETRY_S
            settlement = postponed(email, claim, self._with.worker_id, retry_in_s=retry_in_s)
        else:
            log.error("delivery.gave_up", reason=reason, email_id=str(claim.email_id))
            settlement = given_up(email, claim, self._with.worker_id, reason)
            metrics.record_dead_letter(
                reason, sum(change.event is RecipientEvent.GAVE_UP for change in settlement.changes)
            )
        self._with.recorder.record(settlement)
