"""What came of a subscriber's events, until the database knows it."""

import asyncio

import structlog

from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.subscribers.feeding import record_failed, record_handled
from tallypost_domain.subscribers.types import DeliveryKey, EventClaim, FailedDelivery
from tallypost_resilience.retry import RetryPolicy, next_delay_s
from tallypost_telemetry import metrics

log = structlog.get_logger()


class Outcomes:
    """Gathers what one subscriber handled and what failed, and writes each in one statement."""

    def __init__(self, pool: Pool, name: str, policy: RetryPolicy) -> None:
        """pool logs in as tp_worker; policy says when what failed comes again."""
        self._pool = pool
        self._name = name
        self._policy = policy
        self._handled: list[DeliveryKey] = []
        self._failed: list[FailedDelivery] = []

    def note(self, claim: EventClaim, error: str | None) -> None:
        """An attempt has ended, with the kind of its error or well."""
        if error is None:
            self._handled.append(claim.key)
            metrics.record_subscriber_event(self._name, "handled")
            return
        delay_s = next_delay_s(self._policy, claim.attempt)
        self._failed.append(FailedDelivery(claim, error, delay_s))
        metrics.record_subscriber_event(self._name, "failed" if delay_s is not None else "dead")

    def drop(self, claim: EventClaim) -> None:
        """An event is not stored any more."""
        log.warning("subscriber.event_is_gone", subscriber=self._name)
        self._handled.append(claim.key)

    def give_back(self, claim: EventClaim) -> None:
        """An event comes again at once, to another worker, and this attempt is not counted."""
        self._failed.append(FailedDelivery(claim, None, 0.0))

    async def write(self) -> None:
        """Write what was gathered, each kind apart: what cannot be written takes no other along.

        What the database refuses is not tried again, and is due when its lease ends. Raises that
        error, and DatabaseUnavailable, after which the rest is still here.
        """
        await self._write_handled()
        await self._write_failed()

    async def _write_handled(self) -> None:
        handled, self._handled = self._handled, []
        if not handled:
            return
        try:
            await record_handled(self._pool, self._name, handled)
        except (DatabaseUnavailable, asyncio.CancelledError):
            self._handled = handled + self._handled
            raise

    async def _write_failed(self) -> None:
        failed, self._failed = self._failed, []
        if not failed:
            return
        try:
            await record_failed(self._pool, self._name, failed)
        except (DatabaseUnavailable, asyncio.CancelledError):
            self._failed = failed + self._failed
            raise
        gave_up = sum(item.retry_in_s is None for item in failed)
        log.warning(
            "subscriber.failed",
            subscriber=self._name,
            count=len(failed) - gave_up,
            gave_up=gave_up,
            error=failed[-1].error,
        )
