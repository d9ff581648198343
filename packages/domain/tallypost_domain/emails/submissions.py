"""A request on its way into the database, and its answer."""

import asyncio

from tallypost_domain.emails.rows import Item
from tallypost_domain.emails.statements import Claim
from tallypost_domain.emails.types import Acceptance, Sender
from tallypost_domain.usage.quotas import Reservation


class Submission:
    """All emails of one request: stored together or not at all, and answered once.

    Whoever waits may go away at any time; what is on its way is stored all the same.
    """

    __slots__ = (
        "_waiters",
        "acceptance",
        "billed",
        "claim",
        "items",
        "may_be_stored",
        "outcome",
        "reservation",
        "sender",
        "size_bytes",
    )

    def __init__(
        self,
        sender: Sender,
        items: tuple[Item, ...],
        acceptance: Acceptance,
        claim: Claim | None = None,
        reservation: Reservation | None = None,
    ) -> None:
        """acceptance is the answer if this request is the one that is stored."""
        self.sender = sender
        self.items = items
        self.acceptance = acceptance
        self.claim = claim
        self.reservation = reservation
        self.billed = 0
        """How much of the reservation is spent where it is stored."""
        self.may_be_stored = False
        """True from when a commit was sent and its answer did not come."""
        self.size_bytes = sum(item.size_bytes for item in items)
        self.outcome: Acceptance | Exception | None = None
        self._waiters: list[asyncio.Future[Acceptance | Exception]] = []

    @property
    def is_stored(self) -> bool:
        """True once it is known that it was these very emails that were stored."""
        outcome = self.outcome
        return isinstance(outcome, Acceptance) and outcome.ids == self.acceptance.ids

    @property
    def trace_context(self) -> str | None:
        """Of the span that accepts it, where that is sampled."""
        return self.items[0].trace_context if self.items else None

    @property
    def object_keys(self) -> list[str]:
        """What belongs to it in the object store."""
        return [a.object_key for item in self.items for a in item.attachments if a.object_key]

    async def wait(self) -> Acceptance:
        """The answer, once there is one; raises what the request failed with."""
        outcome = await self.settled()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def settled(self) -> Acceptance | Exception:
        """What came of the request, once that is known."""
        if self.outcome is not None:
            return self.outcome
        waiter: asyncio.Future[Acceptance | Exception] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return await waiter

    def settle(self, outcome: Acceptance | Exception) -> None:
        """Answer everybody who waits, and give back what the request did not spend."""
        self.outcome = outcome
        self._give_back()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(outcome)

    def _give_back(self) -> None:
        if self.reservation is None:
            return
        if self.is_stored:
            self.reservation.lease.give_back(self.reservation.units - self.billed)
        elif not self.may_be_stored:
            self.reservation.lease.give_back(self.reservation.units)
        # Else it may be spent, and counts as spent.
        self.reservation = None
