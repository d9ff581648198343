"""The delivery loop: claims due emails and keeps a fixed number of deliveries going.

What is due, claimed and recorded is in Postgres alone. Redis, where accounts' rates are counted and
breakers' probes are lent, may be away for as long as it likes.
"""

import asyncio
from uuid import UUID

import structlog

from tallypost_core.crypto import KeyRing
from tallypost_domain.db.pools import Pool
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_worker.delivery import Delivery
from tallypost_worker.handovers import is_cancellation
from tallypost_worker.heartbeat import Heartbeat
from tallypost_worker.lane_claims import LaneClaims
from tallypost_worker.ready_emails import MOST_BULK, ReadyEmails
from tallypost_worker.recorder import Recorder
from tallypost_worker.wakeups import DueTenants

# Claimed emails per delivery: enough that none waits for a claim, few enough that another worker
# is not kept from them.
_AHEAD = 2
# Of what all deliveries could have claimed. Transactional mail is there before it is wanted; of
# bulk mail no more than may be taken.
_SHARES = {Lane.TRANSACTIONAL: 1.0, Lane.BULK: MOST_BULK}

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
        self._delivery = delivery
        self._recorder = recorder
        self._concurrency = concurrency
        self._ready = ReadyEmails(concurrency)
        # Each lane claims by itself: a password reset waits for no claim of a campaign, and
        # neither lane takes the other's room.
        self._lanes = {
            lane: LaneClaims(
                lane,
                pool,
                worker_id,
                peppers,
                heartbeat=heartbeat,
                due=due,
                ready=self._ready,
                room=max(1, int(_AHEAD * concurrency * share)),
            )
            for lane, share in _SHARES.items()
        }
        self._deliveries: list[asyncio.Task[None]] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Claim and deliver until stop is set; a database that is away is tried again."""
        self._deliveries = [
            asyncio.create_task(self._deliver_for_ever()) for _ in range(self._concurrency)
        ]
        async with asyncio.TaskGroup() as claiming:
            for claims in self._lanes.values():
                claiming.create_task(claims.run(stop))

    def begin_drain(self) -> None:
        """Let nothing more leave but what is marked."""
        self._recorder.stop_marking()
        for email in self._ready.remove_waiting():
            self._lane_of(email).done(email, is_unsent=True)

    async def wait_until_drained(self) -> None:
        """Return once nothing is under way; after `begin_drain`."""
        await self._ready.wait_until_done()

    async def return_unsent(self) -> None:
        """Give back what was claimed and is not worked on; raises DatabaseUnavailable."""
        for claims in self._lanes.values():
            await claims.return_unsent()

    async def abandon(self) -> None:
        """End what is still under way; nobody will know what came of it."""
        for task in self._deliveries:
            task.cancel()
        if self._deliveries:
            await asyncio.wait(self._deliveries)

    async def _deliver_for_ever(self) -> None:
        while True:
            email = await self._ready.take()
            is_unsent = False
            try:
                is_unsent = not await self._delivery.deliver(email)
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                if is_cancellation(error):
                    raise
                # A mistake of ours. The row stays this worker's until the process ends, and the
                # sweep then says that its fate is unknown: nothing is lost, nothing is guessed.
                log.exception("delivery.crashed", email_id=str(email.claim.email_id))
            self._lane_of(email).done(email, is_unsent=is_unsent)
            self._ready.done(email)

    def _lane_of(self, email: LoadedEmail) -> LaneClaims:
        return self._lanes[Lane(email.claim.lane)]
