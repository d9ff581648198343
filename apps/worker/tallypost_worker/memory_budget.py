"""Bounds how many bytes of email are in memory at the same time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class MemoryBudget:
    """A fair counter of bytes: whoever asks first gets first, and a giant goes alone."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._used_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def reserve(self, size_bytes: int) -> AsyncIterator[None]:
        """Hold size_bytes of the budget, waiting until they are free."""
        size_bytes = min(size_bytes, self._total_bytes)
        await self._take(size_bytes)
        try:
            yield
        finally:
            self._used_bytes -= size_bytes
            self._admit()

    async def _take(self, size_bytes: int) -> None:
        if not self._waiting and self._fits(size_bytes):
            self._used_bytes += size_bytes
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # Admitted and cancelled in the same moment: give it to the next one.
                self._used_bytes -= size_bytes
            elif (size_bytes, turn) in self._waiting:
                self._waiting.remove((size_bytes, turn))
            self._admit()
            raise

    def _fits(self, size_bytes: int) -> bool:
        return self._used_bytes + size_bytes <= self._total_bytes

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size_bytes, turn = self._waiting.popleft()
            # One that was cancelled a moment ago has not run yet to take itself off the list.
            if not turn.done():
                self._used_bytes += size_bytes
                turn.set_result(None)
