"""Places of which there are only so many, and the lines of those who wait for one."""

import asyncio
from collections import deque

from tallypost_providers.bulk_turns import BulkTurns
from tallypost_providers.errors import ProviderBusy


class Places:
    """Gives each place to one holder at a time.

    Of those who wait, whoever asked first is served first; bulk mail lets other mail go before it,
    but gets one place in five as long as it waits.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = count
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._bulk: deque[asyncio.Future[None]] = deque()
        self._turns = BulkTurns()
        self._is_closed = False

    @property
    def taken(self) -> int:
        """How many places somebody holds."""
        return self._count - self._free

    async def take(self, within_s: float, *, is_bulk: bool) -> None:
        """Wait for a place; `give_back` must follow.

        Raises ProviderBusy where none becomes free in time, and once the places are closed.
        """
        if self._is_closed:
            raise ProviderBusy
        if self._free > 0:
            # Nobody waits while a place is free: it goes from hand to hand.
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(within_s, _refuse, place)
        (self._bulk if is_bulk else self._urgent).append(place)
        try:
            await place
        except asyncio.CancelledError:
            # Given, and of no use any more; not so where the time was up in the same moment.
            if not place.cancelled() and place.exception() is None:
                self.give_back()
            raise
        finally:
            timer.cancel()

    def give_back(self) -> None:
        """Give a place on to whoever is next."""
        place = self._next_waiting()
        if place is None:
            self._free += 1
        else:
            place.set_result(None)

    def close(self) -> None:
        """Give no place to anybody any more; whoever waits hears so at once."""
        self._is_closed = True
        for place in (*self._urgent, *self._bulk):
            _refuse(place)

    def _next_waiting(self) -> "asyncio.Future[None] | None":
        _drop_done(self._urgent)
        _drop_done(self._bulk)
        if self._turns.is_next_bulk(
            do_others_wait=bool(self._urgent), does_bulk_wait=bool(self._bulk)
        ):
            return self._bulk.popleft()
        return self._urgent.popleft() if self._urgent else None


def _drop_done(line: "deque[asyncio.Future[None]]") -> None:
    while line and line[0].done():
        line.popleft()


def _refuse(place: "asyncio.Future[None]") -> None:
    if not place.done():
        place.set_exception(ProviderBusy())
