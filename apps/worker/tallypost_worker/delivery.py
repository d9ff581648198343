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
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.claims import claim_for_sending, release_claims
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
# Something of ours is away (object store, key ring, every provider account).
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
        self._running: set[asyncio.Task[None]] = set()
        self._returning: list[Claim] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Claim and deliver until stop is set; a database that is away is tried again."""
        while not stop.is_set():
            try:
                await self._return_claims()
                claimed = await self._claim_round()
            except DatabaseUnavailable as error:
                log.warning("delivery.waits", error=error.code)
                await asyncio.sleep(_RETRY_S)
                continue
            if not claimed:
                await self._with.due.wait(POLL_EVERY_S)

    async def drain(self) -> None:
        """Let nothing more leave, wait for what is under way, and give the rest back."""
        self._with.recorder.stop_marking()
        if self._running:
            await asyncio.wait(set(self._running))
        await self._return_claims()

    async def _claim_round(self) -> int:
        room = _AHEAD * self._with.concurrency - len(self._running)
        # A claim for a single free slot would cost as much as one for many.
        if room < self._with.concurrency // 2 + 1 or self._with.heartbeat.remaining_s == 0:
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
        claims = await claim_for_sending(
            self._with.pool, self._with.worker_id, lane=lane, tenant_ids=list(tenants), quota=quota
        )
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
            self._running.add(task)
            task.add_done_callback(self._finished)
        return len(claims)

    async def _return_claims(self) -> None:
        claims, self._returning = self._returning, []
        try:
            await release_claims(self._with.pool, self._with.worker_id, claims)
        except DatabaseUnavailable:
            self._returning += claims
            raise

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
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
            result = await provider.send(outgoing, timeout_s)
        except EmailNotBuildable as error:
            self._give_up_or_wait(email, claim, error)
            return
        except Exception:
            # The edge to code that may be a plugin's. What it did before it broke is unknown.
            log.exception("delivery.provider_crashed", provider=provider.name)
            result = same_for_all(outgoing, Outcome.AMBIGUOUS, phase="crashed")
        duration_s = clock.monotonic_s() - started_s
        metrics.record_handover(
            provider.name, [to.outcome.value for to in result.recipients], duration_s
        )
        self._with.recorder.record(
            handed_over(email, claim, self._with.worker_id, provider, result, duration_s)
        )

    def _give_up_or_wait(self, email: LoadedEmail, claim: Claim, error: Exception) -> None:
        reason = permanent_reason(error)
        if reason is None:
            log.warning("delivery.postponed", error=type(error).__name__)
            settlement = postponed(email, claim, self._with.worker_id, retry_in_s=_OUTAGE_RETRY_S)
        else:
            log.error("delivery.gave_up", reason=reason, email_id=str(claim.email_id))
            settlement = given_up(email, claim, self._with.worker_id, reason)
            metrics.record_dead_letter(reason, len(settlement.changes))
        self._with.recorder.record(settlement)
