"""One email's turn in a worker: assemble, wait for the mark, hand over, report the result.

Whatever fails before the mark has not left and is simply due again.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

import structlog

from tallypost_core import clock
from tallypost_core.crypto import CryptoError
from tallypost_core.errors import AppError
from tallypost_core.object_store import ObjectNotFound
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.emails.lifecycle import RecipientEvent
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_domain.queue.types import Claim
from tallypost_providers.base import same_for_all
from tallypost_providers.errors import EmailNotBuildable, ProviderBusy
from tallypost_providers.router import choose
from tallypost_providers.types import Outcome, OutgoingEmail, Provider, SendResult
from tallypost_telemetry import conventions, metrics
from tallypost_telemetry.tracing import Span, current_span, error_type
from tallypost_worker.assembly import Assembler, memory_bytes
from tallypost_worker.delivery_samples import DeliverySamples
from tallypost_worker.delivery_spans import Peer, handing_over, note_result, processing
from tallypost_worker.heartbeat import LEASE_MARGIN_S, Heartbeat
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

LEAST_TIMEOUT_S = 1.0
"""A handover is not begun with less time than this."""

_MEMORY_BYTES = 128_000_000
_RETRY_S = 1.0
# Something else of ours is away (object store, key ring, every provider account).
_OUTAGE_RETRY_S = 30.0

log = structlog.get_logger()


class Delivery:
    """Carries claimed emails to their providers, any number at the same time."""

    def __init__(
        self,
        worker_id: UUID,
        *,
        providers: Sequence[Provider],
        assembler: Assembler,
        recorder: Recorder,
        heartbeat: Heartbeat,
        samples: DeliverySamples,
        timeout_s: float,
        peers: Mapping[str, Peer] = MappingProxyType({}),
    ) -> None:
        """timeout_s is the longest handover; peers, by account, are for traces only."""
        self._worker_id = worker_id
        self._providers = providers
        self._assembler = assembler
        self._recorder = recorder
        self._heartbeat = heartbeat
        self._samples = samples
        self._timeout_s = timeout_s
        self._peers = peers
        # Of each lane: a password reset does not wait until a campaign's pictures have left.
        self._memory = {lane: MemoryBudget(_MEMORY_BYTES) for lane in Lane}

    async def deliver(self, email: LoadedEmail) -> bool:
        """Take one email as far as it goes; False where its claim is to be given back unsent."""
        with processing(email) as span:
            return await self._deliver(email, span)

    async def _deliver(self, email: LoadedEmail, span: Span) -> bool:
        if email.hold_reason or all(to.is_suppressed for to in email.recipients):
            if span and email.hold_reason:
                span.note({conventions.HOLD_REASON: email.hold_reason})
            self._recorder.record(unsent(email, self._worker_id))
            return True
        async with self._memory[Lane(email.claim.lane)].reserve(memory_bytes(email)):
            try:
                provider = choose(self._providers, email.mode)
                outgoing = await self._assembler.assemble(email)
            except (AppError, CryptoError, ObjectNotFound) as error:
                self._give_up_or_wait(email, email.claim, error)
                return True
            except Exception as error:
                # The edge of one email's work. Whatever is wrong with it, nothing has left, and
                # the row must not stay with a worker that does nothing about it.
                log.exception("delivery.crashed", email_id=str(email.claim.email_id))
                self._give_up_or_wait(email, email.claim, error)
                return True
            claim = await self._recorder.mark(email.claim)
            if claim is None:
                return False
            await self._hand_over(email, claim, outgoing, provider)
            return True

    async def _hand_over(
        self, email: LoadedEmail, claim: Claim, outgoing: OutgoingEmail, provider: Provider
    ) -> None:
        lease_s = self._heartbeat.remaining_s - LEASE_MARGIN_S
        timeout_s = min(self._timeout_s, lease_s)
        if timeout_s < LEAST_TIMEOUT_S:
            self._recorder.record(postponed(email, claim, self._worker_id))
            return
        started_s = clock.monotonic_s()
        try:
            with handing_over(provider, self._peers.get(provider.account)) as span:
                result = await _send(provider, outgoing, timeout_s)
                note_result(span, result)
        except EmailNotBuildable as error:
            self._give_up_or_wait(email, claim, error)
            return
        except ProviderBusy:
            # Nothing is known against the peer or the email: no attempt is counted, and the email
            # is not put behind those that came later.
            metrics.record_provider_busy(provider.name)
            self._recorder.record(postponed(email, claim, self._worker_id))
            return
        duration_s = clock.monotonic_s() - started_s
        self._recorder.record(
            handed_over(email, claim, self._worker_id, provider, result, duration_s)
        )
        metrics.record_handover(
            provider.name, [to.outcome.value for to in result.recipients], duration_s
        )
        self._samples.record(email, claim, provider.name, [to.outcome for to in result.recipients])

    def _give_up_or_wait(self, email: LoadedEmail, claim: Claim, error: Exception) -> None:
        current_span().fail(error_type(error))
        reason = permanent_reason(error)
        if reason is None:
            log.warning("delivery.postponed", error=type(error).__name__)
            retry_in_s = _RETRY_S if isinstance(error, DatabaseUnavailable) else _OUTAGE_RETRY_S
            settlement = postponed(email, claim, self._worker_id, retry_in_s=retry_in_s)
        else:
            log.error("delivery.gave_up", reason=reason, email_id=str(claim.email_id))
            settlement = given_up(email, claim, self._worker_id, reason)
            metrics.record_dead_letter(
                reason, sum(change.event is RecipientEvent.GAVE_UP for change in settlement.changes)
            )
        self._recorder.record(settlement)


async def _send(provider: Provider, outgoing: OutgoingEmail, timeout_s: float) -> SendResult:
    """What the provider says; raises only what says that nothing has left."""
    try:
        return storable(await provider.send(outgoing, timeout_s), outgoing)
    except (EmailNotBuildable, ProviderBusy):
        raise
    except Exception:
        # The edge to code that may be a plugin's. What it did before it broke is unknown.
        log.exception("delivery.provider_crashed", provider=provider.name)
        return same_for_all(outgoing, Outcome.AMBIGUOUS, phase="crashed")
