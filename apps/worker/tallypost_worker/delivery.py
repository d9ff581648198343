"""One email's turn in a worker: find who takes it, assemble, wait for the mark, hand over, report.

Whatever fails before the mark has not left and is simply due again.
"""

import asyncio
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
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_domain.queue.types import Claim
from tallypost_providers.errors import EmailNotBuildable, ProviderBusy
from tallypost_providers.types import OutgoingEmail, Provider, SendResult
from tallypost_resilience.breaker import BreakerOpen
from tallypost_telemetry import conventions, metrics
from tallypost_telemetry.tracing import Span, current_span, error_type
from tallypost_worker.assembly import Assembler
from tallypost_worker.delivery_samples import DeliverySamples
from tallypost_worker.delivery_spans import Peer, handing_over, note_result, processing
from tallypost_worker.desks import Place
from tallypost_worker.fleet import Fleet
from tallypost_worker.handovers import Handovers, is_cancellation
from tallypost_worker.heartbeat import LEASE_MARGIN_S, Heartbeat
from tallypost_worker.look_ups import LookUps, LookUpWaits
from tallypost_worker.memory_budget import DeliveryMemory
from tallypost_worker.put_offs import next_wait_s
from tallypost_worker.recorder import Recorder
from tallypost_worker.routing import is_bulk, no_way, others_after, receivers_of, ways_of
from tallypost_worker.settlements import (
    given_up,
    handed_over,
    permanent_reason,
    postponed,
    put_off_look_up,
    unsent,
)
from tallypost_worker.tenant_routes import RouteBook

LEAST_TIMEOUT_S = 1.0
"""A handover is not begun with less time than this."""

_SPREAD_S = 2.0
# Of a look-up that broke off.
_OUTAGE_RETRY_S = 30.0
# The longest first wait where something else of ours is away (object store, key ring), or a route
# leads nowhere.
_OUTAGE_SPREAD_S = 60.0

log = structlog.get_logger()


class Delivery:
    """Carries claimed emails to their providers, any number at the same time."""

    def __init__(
        self,
        worker_id: UUID,
        *,
        fleet: Fleet,
        routes: RouteBook,
        assembler: Assembler,
        recorder: Recorder,
        heartbeat: Heartbeat,
        samples: DeliverySamples,
        timeout_s: float,
        peers: Mapping[str, Peer] = MappingProxyType({}),
        look_up_waits: LookUpWaits | None = None,
    ) -> None:
        """timeout_s is the longest handover; peers, by account, are for traces only."""
        self._worker_id = worker_id
        self._fleet = fleet
        self._routes = routes
        self._assembler = assembler
        self._recorder = recorder
        self._heartbeat = heartbeat
        self._samples = samples
        self._timeout_s = timeout_s
        self._peers = peers
        self._handovers = Handovers()
        self._memory = DeliveryMemory(fleet.accounts, fleet.concurrency)
        self._crashed_at_obstacles: set[str] = set()
        self._look_ups = LookUps(worker_id, routes, recorder, look_up_waits or LookUpWaits())

    async def deliver(self, email: LoadedEmail) -> bool:
        """Take one email as far as it goes; False where its claim is to be given back unsent."""
        with processing(email) as span:
            return await self._deliver(email, span)

    async def _deliver(self, email: LoadedEmail, span: Span) -> bool:
        if await self._is_settled_by_look_up(email):
            return True
        if email.hold_reason or all(to.is_suppressed for to in email.recipients):
            if span and email.hold_reason:
                span.note({conventions.HOLD_REASON: email.hold_reason})
            self._recorder.record(unsent(email, self._worker_id))
            return True
        try:
            routes = await self._routes.of(email.claim.tenant_id)
        except Exception as error:
            self._put_aside(email, error)
            return True
        ways = ways_of(email, routes, self._fleet)
        if not ways:
            self._give_up_or_wait(email, email.claim, no_way(email, routes, self._fleet))
            return True
        place = await self._take_place(email, ways)
        if place is None:
            return True
        with place:
            memory = await self._memory.take(email, ways)
            if memory is None:
                self._put_off(email, email.claim, 0.0, _SPREAD_S)
                return True
            with memory:
                try:
                    outgoing = await self._assembler.assemble(email)
                except Exception as error:
                    self._put_aside(email, error)
                    return True
                return await self._send_by(place, email, outgoing, ways)

    async def _is_settled_by_look_up(self, email: LoadedEmail) -> bool:
        """Whether nothing is left to do in this turn, for what a provider said or is to be asked.

        Where the question breaks off it is put again: its stream's policy does not count yet.
        """
        try:
            return await self._look_ups.settle(email)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if is_cancellation(error):
                raise
            # The edge of one email's work, as `_put_aside` is, and to code that may be a plugin's.
            log.exception("delivery.look_up_crashed", email_id=str(email.claim.email_id))
            self._recorder.record(put_off_look_up(email, self._worker_id, _OUTAGE_RETRY_S))
            return True

    async def _send_by(
        self,
        place: Place,
        email: LoadedEmail,
        outgoing: OutgoingEmail,
        ways: Sequence[Provider],
    ) -> bool:
        """Hand over where the place is, or where nothing speaks against this very email."""
        fitting = [way for way in ways if not self._has_obstacle(way, outgoing)]
        # Where all have something against it, the one that is asked says so to the sender.
        if not fitting or place.provider in fitting:
            return await self._mark_and_hand_over(place, email, outgoing, fitting or ways)
        other = await self._take_place(email, fitting)
        if other is None:
            return True
        with other:
            return await self._mark_and_hand_over(other, email, outgoing, fitting)

    async def _mark_and_hand_over(
        self,
        place: Place,
        email: LoadedEmail,
        outgoing: OutgoingEmail,
        ways: Sequence[Provider],
    ) -> bool:
        claim = await self._recorder.mark(email.claim)
        if claim is None:
            return False
        lease_s = self._heartbeat.remaining_s - LEASE_MARGIN_S
        timeout_s = min(self._timeout_s, lease_s)
        if timeout_s < LEAST_TIMEOUT_S:
            self._recorder.record(postponed(email, claim, self._worker_id))
            return True
        provider = place.provider
        place.begin_handover()
        started_s = clock.monotonic_s()
        try:
            with handing_over(provider, self._peers.get(provider.account)) as span:
                async with self._fleet.guard(provider) as call:
                    result = await self._handovers.hand_over(provider, outgoing, timeout_s)
                    self._fleet.learn(call, provider, email.domain_id, result)
                note_result(span, result)
        except EmailNotBuildable as error:
            self._give_up_or_wait(email, claim, error)
            return True
        except (ProviderBusy, BreakerOpen) as error:
            # Nothing is known against the email: no attempt is counted, and it is not put behind
            # those that came later.
            place.withdraw_handover()
            if isinstance(error, ProviderBusy):
                metrics.record_provider_busy(provider.name)
            self._recorder.record(postponed(email, claim, self._worker_id))
            return True
        self._record(email, claim, provider, result, clock.monotonic_s() - started_s, ways)
        return True

    def _record(
        self,
        email: LoadedEmail,
        claim: Claim,
        provider: Provider,
        result: SendResult,
        duration_s: float,
        ways: Sequence[Provider],
    ) -> None:
        others = others_after(provider, result, email, ways)
        fails_over = any(self._fleet.is_ready(way, email.domain_id) for way in others)
        self._recorder.record(
            handed_over(
                email,
                claim,
                self._worker_id,
                provider,
                result,
                duration_s,
                fails_over=fails_over,
                look_up_in_s=self._look_ups.first_wait_s(provider, result),
            )
        )
        if fails_over:
            metrics.record_failover(provider.name)
        outcomes = [to.outcome for to in result.recipients]
        metrics.record_handover(provider.name, [outcome.value for outcome in outcomes], duration_s)
        self._samples.record(email, claim, provider.name, outcomes)

    def _has_obstacle(self, provider: Provider, outgoing: OutgoingEmail) -> bool:
        try:
            return provider.find_obstacle(outgoing) is not None
        except (Exception, SystemExit, asyncio.CancelledError):
            # The edge to code that may be a plugin's. `send` decides; and every email would say so.
            # Nothing is awaited, so that nobody can have cancelled this task meanwhile.
            if provider.name not in self._crashed_at_obstacles:
                self._crashed_at_obstacles.add(provider.name)
                log.exception("delivery.find_obstacle_crashed", provider=provider.name)
            return False

    async def _take_place(self, email: LoadedEmail, ways: Sequence[Provider]) -> Place | None:
        """A place at one of the accounts; where none may be asked yet, the email is put off."""
        place = await self._fleet.take(
            ways,
            email.domain_id,
            tenant_id=email.claim.tenant_id,
            receivers=receivers_of(email),
            is_bulk=is_bulk(email),
        )
        if place is not None:
            return place
        wait_s = self._fleet.shortest_wait_s(ways, email.domain_id)
        self._put_off(email, email.claim, wait_s, min(wait_s, _SPREAD_S))
        return None

    def _put_off(self, email: LoadedEmail, claim: Claim, wait_s: float, spread_s: float) -> None:
        """Let it come again later: no attempt is counted, and it is not its fault."""
        retry_in_s = next_wait_s(claim, wait_s, spread_s)
        self._recorder.record(postponed(email, claim, self._worker_id, retry_in_s=retry_in_s))

    def _put_aside(self, email: LoadedEmail, error: Exception) -> None:
        """The edge of one email's work. Whatever is wrong with it, nothing has left, and the row
        must not stay with a worker that does nothing about it."""
        if not isinstance(error, AppError | CryptoError | ObjectNotFound):
            log.error("delivery.crashed", exc_info=error, email_id=str(email.claim.email_id))
        self._give_up_or_wait(email, email.claim, error)

    def _give_up_or_wait(self, email: LoadedEmail, claim: Claim, error: Exception) -> None:
        current_span().fail(error_type(error))
        reason = permanent_reason(error)
        if reason is None:
            log.warning("delivery.postponed", error=type(error).__name__)
            is_short = isinstance(error, DatabaseUnavailable)
            self._put_off(email, claim, 0.0, _SPREAD_S if is_short else _OUTAGE_SPREAD_S)
            return
        log.error("delivery.gave_up", reason=reason, email_id=str(claim.email_id))
        settlement = given_up(email, claim, self._worker_id, reason)
        metrics.record_dead_letter(
            reason, sum(change.event is RecipientEvent.GAVE_UP for change in settlement.changes)
        )
        self._recorder.record(settlement)
