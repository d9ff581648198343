"""Claimed emails that wait for one of the worker's deliveries, and which of them is next.

Transactional mail goes first, without ever stopping bulk mail: of five emails that are taken
while both wait, one is bulk. Bulk mail in turn never has all deliveries at once, so that a slow
destination of it does not hold up a password reset, and stands aside while one passes.
"""

import asyncio
from collections import deque

from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_providers.bulk_turns import BulkTurns
from tallypost_worker.right_of_way import RightOfWay

MOST_BULK = 0.8
"""The share of a worker that bulk mail never exceeds."""


class ReadyEmails:
    """The emails that a worker has claimed and not finished."""

    def __init__(self, concurrency: int) -> None:
        """concurrency is how many deliveries take from here."""
        self._bulk_limit = max(1, int(concurrency * MOST_BULK))
        self._waiting: dict[Lane, deque[LoadedEmail]] = {lane: deque() for lane in Lane}
        self._taken: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self._turns = BulkTurns()
        self._takers: deque[asyncio.Future[None]] = deque()
        self.right_of_way = RightOfWay(self._wake_for_bulk)
        self._all_done = asyncio.Event()
        self._all_done.set()

    def put(self, email: LoadedEmail) -> None:
        """Let an email wait for its turn."""
        lane = Lane(email.claim.lane)
        self.right_of_way.begin(lane)
        self._waiting[lane].append(email)
        self._wake_taker()

    async def take(self) -> LoadedEmail:
        """The next email; `done` must follow."""
        while (lane := self._next_lane()) is None:
            taker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            await taker
        self._taken[lane] += 1
        self._all_done.clear()
        return self._waiting[lane].popleft()

    def done(self, email: LoadedEmail) -> None:
        """What was taken is finished, one way or another."""
        lane = Lane(email.claim.lane)
        self._taken[lane] -= 1
        self.right_of_way.end(lane)
        if not any(self._taken.values()):
            self._all_done.set()
        # A bulk email may have waited for fewer of its kind.
        if self._waiting[Lane.BULK]:
            self._wake_taker()

    def remove_waiting(self) -> list[LoadedEmail]:
        """Take everything off that nobody has taken yet."""
        removed = [email for waiting in self._waiting.values() for email in waiting]
        for waiting in self._waiting.values():
            waiting.clear()
        for email in removed:
            self.right_of_way.end(Lane(email.claim.lane))
        return removed

    async def wait_until_done(self) -> None:
        """Return once everything that was taken is finished."""
        await self._all_done.wait()

    def _next_lane(self) -> Lane | None:
        do_others_wait = bool(self._waiting[Lane.TRANSACTIONAL])
        if self._turns.is_next_bulk(
            do_others_wait=do_others_wait,
            does_bulk_wait=bool(self._waiting[Lane.BULK]),
            may_bulk_go=(
                self._taken[Lane.BULK] < self._bulk_limit and self.right_of_way.is_open(Lane.BULK)
            ),
        ):
            return Lane.BULK
        return Lane.TRANSACTIONAL if do_others_wait else None

    def _wake_for_bulk(self) -> None:
        for _ in self._waiting[Lane.BULK]:
            self._wake_taker()

    def _wake_taker(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return
