"""Bounds how many bytes of email are in memory at the same time, and whose they are.

Mail that may go by a tenant's own account has a budget apart from the platform's, of which one
tenant has half at most: what hangs outside keeps its memory until its handover ends. In each budget
giants have a part and everybody else another, so that neither waits for the other.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from types import TracebackType
from typing import Final
from uuid import UUID

from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_providers.types import Provider
from tallypost_worker.assembly import memory_bytes

# Of mail that goes by the platform only, for each lane: an invoice does not wait until a campaign's
# pictures have left.
_PLATFORM_BYTES: Final = 128_000_000
# Of all other mail, for both lanes together. The largest email takes 160 MB while it is sent, and
# goes although its part is smaller: four of them at a time are the most that budgets of this size
# let into a process, one of each lane and two of tenants' accounts.
_TENANTS_BYTES: Final = 128_000_000
_TENANT_SHARE: Final = 0.5
# Of the deliveries: those who wait for a part of a budget and do nothing else, of one tenant and in
# all. More may wait for the tenants' budget, so that a few tenants whose accounts hang cannot have
# the whole line; most of them have a place at a tenant's account, of which there are few.
_WAITING_OF_ONE_SHARE: Final = 0.05
_WAITING_SHARE: Final = 0.1
_WAITING_OF_TENANTS_SHARE: Final = 0.25
# Of a budget, the part of those that want little: a 32nd of it, 1 MB of email where it is 128 MB.
_SMALL_PART: Final = 0.25
_SMALL_SHARE: Final = 1 / 32


class Share:
    """Some bytes of a budget, held while the block lasts."""

    __slots__ = ("_part", "_size_bytes", "_tenant_id")

    def __init__(self, part: "_Part | None", tenant_id: UUID, size_bytes: int) -> None:
        self._part = part
        self._tenant_id = tenant_id
        self._size_bytes = size_bytes

    def __enter__(self) -> "Share":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._part is not None:
            self._part.give_back(self._tenant_id, self._size_bytes)


class MemoryBudget:
    """A fair counter of bytes: in each of its parts whoever asks first gets first."""

    def __init__(
        self,
        total_bytes: int,
        *,
        share_of_one: float = 1.0,
        most_waiting: int,
        most_waiting_of_one: int,
    ) -> None:
        """share_of_one is what one tenant may hold of each part; most_waiting is how many may wait
        for each."""
        small_bytes = int(total_bytes * _SMALL_PART)
        self._largest_small_bytes = int(total_bytes * _SMALL_SHARE)
        self._small, self._large = (
            _Part(part_bytes, int(part_bytes * share_of_one), most_waiting, most_waiting_of_one)
            for part_bytes in (small_bytes, total_bytes - small_bytes)
        )

    async def take(self, size_bytes: int, tenant_id: UUID) -> Share | None:
        """Bytes for a tenant's email, once they are free; None where too many wait already.

        Whoever wants more than there is goes alone, or as the only one of its tenant.
        """
        part = self._small if size_bytes <= self._largest_small_bytes else self._large
        return await part.take(size_bytes, tenant_id)


class DeliveryMemory:
    """The budgets of a process."""

    def __init__(self, platform: Container[str], concurrency: int) -> None:
        """platform are the names of its accounts; concurrency is how many deliveries the process
        has under way at most."""
        self._platform = platform
        of_one = math.ceil(concurrency * _WAITING_OF_ONE_SHARE)
        self._of_platform: Mapping[str, MemoryBudget] = {
            lane: MemoryBudget(
                _PLATFORM_BYTES,
                most_waiting=math.ceil(concurrency * _WAITING_SHARE),
                most_waiting_of_one=of_one,
            )
            for lane in Lane
        }
        self._of_tenants = MemoryBudget(
            _TENANTS_BYTES,
            share_of_one=_TENANT_SHARE,
            most_waiting=math.ceil(concurrency * _WAITING_OF_TENANTS_SHARE),
            most_waiting_of_one=of_one,
        )

    async def take(self, email: LoadedEmail, ways: Iterable[Provider]) -> Share | None:
        """What an email needs from assembly to the end of its handover, by one of these ways; None
        where it has to come again later."""
        claim = email.claim
        if email.content is not None:
            # It is in memory since its claim, and there are no more of its size than deliveries.
            return Share(None, claim.tenant_id, 0)
        may_hang_outside = any(way.account not in self._platform for way in ways)
        budget = self._of_tenants if may_hang_outside else self._of_platform[claim.lane]
        return await budget.take(memory_bytes(email), claim.tenant_id)


class _Waiter:
    __slots__ = ("size_bytes", "tenant_id", "turn")

    def __init__(self, size_bytes: int, tenant_id: UUID) -> None:
        self.size_bytes = size_bytes
        self.tenant_id = tenant_id
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Part:
    def __init__(
        self, total_bytes: int, most_bytes: int, most_waiting: int, most_waiting_of_one: int
    ) -> None:
        """most_bytes is of one tenant."""
        self._total_bytes = total_bytes
        self._most_bytes = most_bytes
        self._most_waiting = most_waiting
        self._most_waiting_of_one = most_waiting_of_one
        self._used_bytes = 0
        # Of tenants that hold some.
        self._used_by: Counter[UUID] = Counter()
        self._waiting: list[_Waiter] = []

    async def take(self, size_bytes: int, tenant_id: UUID) -> Share | None:
        waiter = _Waiter(min(size_bytes, self._most_bytes), tenant_id)
        self._waiting.append(waiter)
        self._admit()
        if not waiter.turn.done():
            if self._is_line_too_long(tenant_id):
                self._waiting.remove(waiter)
                return None
            await self._wait(waiter)
        return Share(self, tenant_id, waiter.size_bytes)

    def give_back(self, tenant_id: UUID, size_bytes: int) -> None:
        self._used_bytes -= size_bytes
        self._used_by[tenant_id] -= size_bytes
        if not self._used_by[tenant_id]:
            del self._used_by[tenant_id]
        self._admit()

    async def _wait(self, waiter: _Waiter) -> None:
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._admit()
            else:
                # Admitted and cancelled in the same moment: give it to the next one.
                self.give_back(waiter.tenant_id, waiter.size_bytes)
            raise

    def _is_line_too_long(self, tenant_id: UUID) -> bool:
        of_one = sum(waiter.tenant_id == tenant_id for waiter in self._waiting)
        return len(self._waiting) > self._most_waiting or of_one > self._most_waiting_of_one

    def _admit(self) -> None:
        """Let in whoever is next, past tenants that have all that they may have."""
        left: list[_Waiter] = []
        passed: set[UUID] = set()
        is_full = False
        for waiter in self._waiting:
            # Whoever is cancelled takes itself off, once its task runs.
            if is_full or waiter.turn.done() or waiter.tenant_id in passed:
                left.append(waiter)
            elif self._would_have_too_much(waiter):
                passed.add(waiter.tenant_id)
                left.append(waiter)
            elif self._used_bytes + waiter.size_bytes > self._total_bytes:
                # Nobody overtakes it: else a giant would wait for as long as others come.
                is_full = True
                left.append(waiter)
            else:
                self._used_bytes += waiter.size_bytes
                self._used_by[waiter.tenant_id] += waiter.size_bytes
                waiter.turn.set_result(None)
        self._waiting = left

    def _would_have_too_much(self, waiter: _Waiter) -> bool:
        if self._most_bytes == self._total_bytes:
            return False
        return self._used_by[waiter.tenant_id] + waiter.size_bytes > self._most_bytes
