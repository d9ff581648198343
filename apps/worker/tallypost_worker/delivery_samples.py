"""Counts what this worker hands over, and writes it down twice a second for people who watch.

Deliveries only add to numbers in memory. Writing is a task of its own, on connections that they
do not use; what cannot be written is lost.
"""

import asyncio
from collections.abc import Iterable
from uuid import UUID

import structlog

from tallypost_core import clock
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import Pool
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.queue.claims import FIRST_FENCE_RELEASED
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_domain.queue.samples import Sample, write_samples
from tallypost_domain.queue.types import Claim
from tallypost_providers.types import Outcome

WRITE_EVERY_S = 0.5

log = structlog.get_logger()


class DeliverySamples:
    """What was handed over since the last writing, by provider."""

    def __init__(self, worker_id: UUID) -> None:
        self._worker_id = worker_id
        self._gathered: dict[str, Sample] = {}

    def record(
        self, email: LoadedEmail, claim: Claim, provider: str, outcomes: Iterable[Outcome]
    ) -> None:
        """Count one handover that was answered just now, and its recipients' outcomes."""
        sample = self._gathered.get(provider)
        if sample is None:
            sample = self._gathered[provider] = Sample.empty()
        sample.outcomes.update(outcomes)
        if _was_due_at_once(email, claim):
            sample.add_age((clock.utc_now() - email.created_at).total_seconds())

    async def run(self, pool: Pool) -> None:
        """Write until cancelled; pool logs in as tp_worker."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            gathered, self._gathered = self._gathered, {}
            if not gathered:
                continue
            try:
                await write_samples(pool, self._worker_id, gathered.items())
            except DatabaseUnavailable as error:
                log.warning("samples.lost", error=error.code)
            except Exception:
                # The edge of this task: no number is worth the deliveries beside it.
                log.exception("samples.crashed")


def _was_due_at_once(email: LoadedEmail, claim: Claim) -> bool:
    """Whether its age tells how long it took us: not of retries, nor of what had to wait."""
    return (
        claim.attempt == 1
        and claim.fence < FIRST_FENCE_RELEASED
        and email.status is not RecipientStatus.SCHEDULED
    )
