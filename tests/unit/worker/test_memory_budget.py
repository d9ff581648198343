"""The budget is never overdrawn, nobody waits for ever, and a cancellation gives back its share."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from tallypost_worker.memory_budget import MemoryBudget

TOTAL_BYTES = 100


class Holder:
    """One reservation in a task of its own, held until it is told to let go."""

    def __init__(self, budget: MemoryBudget, size_bytes: int) -> None:
        self.is_in = False
        self._let_go = asyncio.Event()
        self.task = asyncio.create_task(self._hold(budget, size_bytes))

    async def _hold(self, budget: MemoryBudget, size_bytes: int) -> None:
        async with budget.reserve(size_bytes):
            self.is_in = True
            await self._let_go.wait()

    async def leave(self) -> None:
        self._let_go.set()
        await self.task


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def is_whole(budget: MemoryBudget) -> bool:
    """True where all of the budget can be had at once, and so nothing was lost."""
    holder = Holder(budget, TOTAL_BYTES)
    await settle()
    was_in = holder.is_in
    await holder.leave()
    return was_in


async def test_what_fits_goes_in_and_the_rest_waits() -> None:
    budget = MemoryBudget(TOTAL_BYTES)
    first, second, third = (Holder(budget, size) for size in (60, 40, 1))
    await settle()
    assert (first.is_in, second.is_in, third.is_in) == (True, True, False)
    await second.leave()
    await settle()
    assert third.is_in
    await first.leave()
    await third.leave()
    assert await is_whole(budget)


async def test_who_asks_first_gets_first_although_a_small_one_would_fit() -> None:
    budget = MemoryBudget(TOTAL_BYTES)
    first, large, small = (Holder(budget, size) for size in (60, 90, 10))
    await settle()
    assert (large.is_in, small.is_in) == (False, False)
    await first.leave()
    await settle()
    assert (large.is_in, small.is_in) == (True, True)
    await large.leave()
    await small.leave()


async def test_one_larger_than_the_budget_goes_alone() -> None:
    budget = MemoryBudget(TOTAL_BYTES)
    giant = Holder(budget, 10 * TOTAL_BYTES)
    small = Holder(budget, 1)
    await settle()
    assert (giant.is_in, small.is_in) == (True, False)
    await giant.leave()
    await small.leave()
    assert await is_whole(budget)


async def test_error_inside_gives_the_share_back() -> None:
    budget = MemoryBudget(TOTAL_BYTES)
    with pytest.raises(LookupError):
        async with budget.reserve(70):
            raise LookupError
    assert await is_whole(budget)


async def test_cancelled_one_in_the_queue_lets_the_next_one_pass() -> None:
    budget = MemoryBudget(TOTAL_BYTES)
    first, large, small = (Holder(budget, size) for size in (60, 90, 10))
    await settle()
    large.task.cancel()
    await settle()
    assert small.is_in
    await first.leave()
    await small.leave()
    assert await is_whole(budget)


async def test_cancellation_in_the_moment_of_admission_loses_nothing() -> None:
    budget = MemoryBudget(TOTAL_BYTES)
    for cancel_first in (True, False):
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(budget.reserve(TOTAL_BYTES))
            waiting, next_one = Holder(budget, 50), Holder(budget, 50)
            await settle()
            # Both happen before the waiting task runs again, in either order.
            if cancel_first:
                waiting.task.cancel()
            await stack.aclose()
            if not cancel_first:
                waiting.task.cancel()
        await settle()
        assert waiting.task.cancelled()
        assert next_one.is_in
        await next_one.leave()
        assert await is_whole(budget)


async def test_random_arrivals_and_cancellations_never_overdraw_and_lose_nothing() -> None:
    budget = MemoryBudget(TOTAL_BYTES)
    choice = random.Random(7)  # noqa: S311 - the same run each time
    used = peak = 0

    async def work() -> None:
        nonlocal used, peak
        size_bytes = choice.randint(1, TOTAL_BYTES)
        async with budget.reserve(size_bytes):
            used += size_bytes
            peak = max(peak, used)
            try:
                for _ in range(choice.randint(0, 3)):
                    await asyncio.sleep(0)
            finally:
                used -= size_bytes

    for _ in range(50):
        tasks = [asyncio.create_task(work()) for _ in range(20)]
        while not all(task.done() for task in tasks):
            if choice.random() < 0.3:
                choice.choice(tasks).cancel()
            await asyncio.sleep(0)
        assert all(task.cancelled() or task.exception() is None for task in tasks)
    assert 0 < peak <= TOTAL_BYTES
    assert await is_whole(budget)
