"""Lets a campaign stand aside while a password reset passes, for at most a fifth of the time."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tallypost_core import clock
from tallypost_domain.emails.types import Lane

SHARE = 0.2
"""Of the time, what bulk mail gives up at most."""

_MOST_S = 0.25
# For less than this nothing becomes calm.
_LEAST_S = 0.01


class RightOfWay:
    """Whether bulk mail stands still because other mail is on its way through the worker.

    Beside a campaign every step of an email waits for a turn of a busy event loop and a busy
    database, so a few steps for one email come at the price of many for the others. The share of
    the time is saved up while bulk mail moves, to a quarter of a second: neither a steady flow of
    other mail nor one that hangs ever stops a campaign.
    """

    def __init__(self, on_open: Callable[[], None]) -> None:
        """on_open is called each time that bulk mail may move again."""
        self._on_open = on_open
        self._passing = 0
        self._saved_s = _MOST_S
        self._as_of_s = clock.monotonic_s()
        self._opens: asyncio.TimerHandle | None = None
        self._is_open = asyncio.Event()
        self._is_open.set()

    def is_open(self, lane: Lane) -> bool:
        """Whether mail of the lane may move."""
        return lane is not Lane.BULK or self._is_open.is_set()

    async def wait_until_open(self, lane: Lane) -> None:
        """Return once mail of the lane may move."""
        if lane is Lane.BULK:
            await self._is_open.wait()

    def begin(self, lane: Lane) -> None:
        """Something of the lane is on its way; `end` must follow."""
        if lane is Lane.BULK:
            return
        self._passing += 1
        self._count_time()
        if self._opens is None and self._saved_s >= _LEAST_S:
            # While bulk mail stands still its share grows on.
            lasts_s = self._saved_s / (1 - SHARE)
            self._opens = asyncio.get_running_loop().call_later(lasts_s, self._open)
            self._is_open.clear()

    def end(self, lane: Lane) -> None:
        """It has passed."""
        if lane is Lane.BULK:
            return
        self._passing -= 1
        if not self._passing:
            self._open()

    @contextmanager
    def passing(self, lane: Lane) -> Iterator[None]:
        """Mail of the lane may be on its way during the block."""
        self.begin(lane)
        try:
            yield
        finally:
            self.end(lane)

    def _open(self) -> None:
        if self._opens is None:
            return
        self._count_time()
        self._opens.cancel()
        self._opens = None
        self._is_open.set()
        self._on_open()

    def _count_time(self) -> None:
        now_s = clock.monotonic_s()
        passed_s, self._as_of_s = now_s - self._as_of_s, now_s
        if self._opens is None:
            self._saved_s = min(_MOST_S, self._saved_s + SHARE * passed_s)
        else:
            self._saved_s = max(0.0, self._saved_s - (1 - SHARE) * passed_s)
