"""The budget is never overdrawn, nobody waits for ever, and a cancellation gives back its share."""

import asyncio
import random
from contextlib import ExitStack
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_worker.memory_budget import MemoryBudget

TOTAL_BYTES = 1000
SMALL_BYTES, LARGE_BYTES = 250, 750
"""Its parts; whatever is larger than 31 bytes is for the second."""

TENANT, OTHER_TENANT = new_id(), new_id()


def make(
    *, share_of_one: float = 1.0, most_waiting: int = 100, most_waiting_of_one: int = 100
) -> MemoryBudget:
    return MemoryBudget(
        TOTAL_BYTES,
        share_of_one=share_of_one,
        most_waiting=most_waiting,
        most_waiting_of_one=most_waiting_of_one,
    )


class Holder:
    """One reservation in a task of its own, held until it is told to let go."""

    def __init__(self, budget: MemoryBudget, size_bytes: int, tenant_id: UUID = TENANT) -> None:
        self.is_in = False
        self.is_refused = False
        self._let_go = asyncio.Event()
        self.task = asyncio.create_task(self._hold(budget, size_bytes, tenant_id))

    async def _hold(self, budget: MemoryBudget, size_bytes: int, tenant_id: UUID) -> None:
        share = await budget.take(size_bytes, tenant_id)
        if share is None:
            self.is_refused = True
            return
        with share:
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
    holders = [Holder(budget, LARGE_BYTES), *(Holder(budget, 25) for _ in range(10))]
    await settle()
    were_in = all(holder.is_in for holder in holders)
    for holder in holders:
        await holder.leave()
    return were_in


async def test_what_fits_goes_in_and_the_rest_waits() -> None:
    budget = make()
    first, second, third = (Holder(budget, size) for size in (450, 300, 50))
    await settle()
    assert (first.is_in, second.is_in, third.is_in) == (True, True, False)
    await second.leave()
    await settle()
    assert third.is_in
    await first.leave()
    await third.leave()
    assert await is_whole(budget)


async def test_who_asks_first_gets_first_although_a_smaller_one_would_fit() -> None:
    budget = make()
    first, large, smaller = (Holder(budget, size) for size in (450, 700, 50))
    await settle()
    assert (large.is_in, smaller.is_in) == (False, False)
    await first.leave()
    await settle()
    assert (large.is_in, smaller.is_in) == (True, True)
    await large.leave()
    await smaller.leave()


async def test_one_larger_than_the_budget_goes_alone_and_small_mail_beside_it() -> None:
    budget = make()
    giant, another, small = (Holder(budget, size) for size in (10 * TOTAL_BYTES, 50, 30))
    await settle()
    assert (giant.is_in, another.is_in, small.is_in) == (True, False, True)
    await giant.leave()
    await settle()
    assert another.is_in
    await another.leave()
    await small.leave()
    assert await is_whole(budget)


async def test_giant_does_not_wait_for_small_mail_that_goes_on_coming() -> None:
    budget = make()
    small = [Holder(budget, 30) for _ in range(20)]
    giant = Holder(budget, LARGE_BYTES)
    await settle()
    # As many as their part has room for; the others wait among themselves.
    assert sum(holder.is_in for holder in small) == SMALL_BYTES // 30
    assert giant.is_in
    for holder in [giant, *small]:
        await holder.leave()
    assert await is_whole(budget)


async def test_tenant_leaves_half_to_the_others_and_its_next_ones_are_passed() -> None:
    budget = make(share_of_one=0.5)
    giants = [Holder(budget, 10 * TOTAL_BYTES) for _ in range(3)]
    theirs = [Holder(budget, 150, OTHER_TENANT) for _ in range(3)]
    await settle()
    assert [holder.is_in for holder in giants] == [True, False, False]
    assert [holder.is_in for holder in theirs] == [True, True, False]
    await giants[0].leave()
    await settle()
    assert [holder.is_in for holder in giants] == [True, True, False]
    # It has all that one may have, although there is room.
    assert not theirs[2].is_in
    for holder in [*theirs, *giants]:
        await holder.leave()


async def test_line_is_short_and_shorter_for_one_tenant() -> None:
    budget = make(most_waiting=3, most_waiting_of_one=2)
    giant = Holder(budget, LARGE_BYTES)
    await settle()
    mine = [Holder(budget, 100) for _ in range(3)]
    theirs = [Holder(budget, 100, OTHER_TENANT) for _ in range(2)]
    await settle()
    assert [holder.is_refused for holder in mine] == [False, False, True]
    assert [holder.is_refused for holder in theirs] == [False, True]
    await giant.leave()
    await settle()
    assert [holder.is_in for holder in [*mine, *theirs]] == [True, True, False, True, False]
    for holder in [*mine, *theirs]:
        await holder.leave()
    assert await is_whole(budget)


async def test_error_inside_gives_the_share_back() -> None:
    budget = make()
    share = await budget.take(700, TENANT)
    assert share is not None
    with pytest.raises(LookupError), share:
        raise LookupError
    assert await is_whole(budget)


async def test_cancelled_one_in_the_queue_lets_the_next_one_pass() -> None:
    budget = make()
    first, large, smaller = (Holder(budget, size) for size in (450, 700, 100))
    await settle()
    large.task.cancel()
    await settle()
    assert smaller.is_in
    await first.leave()
    await smaller.leave()
    assert await is_whole(budget)


async def test_cancellation_in_the_moment_of_admission_loses_nothing() -> None:
    budget = make()
    for cancel_first in (True, False):
        with ExitStack() as stack:
            share = await budget.take(LARGE_BYTES, TENANT)
            assert share is not None
            stack.enter_context(share)
            waiting, next_one = Holder(budget, 400), Holder(budget, 400)
            await settle()
            # Both happen before the waiting task runs again, in either order.
            if cancel_first:
                waiting.task.cancel()
            stack.close()
            if not cancel_first:
                waiting.task.cancel()
        await settle()
        assert waiting.task.cancelled()
        assert next_one.is_in
        await next_one.leave()
        assert await is_whole(budget)


async def test_random_arrivals_and_cancellations_never_overdraw_and_lose_nothing() -> None:
    budget = make(share_of_one=0.5)
    choice = random.Random(7)  # noqa: S311 - the same run each time
    used = peak = 0

    async def work() -> None:
        nonlocal used, peak
        size_bytes = choice.randint(1, LARGE_BYTES // 2)
        share = await budget.take(size_bytes, choice.choice([TENANT, OTHER_TENANT, new_id()]))
        assert share is not None
        with share:
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
    whole = [Holder(budget, LARGE_BYTES, tenant_id) for tenant_id in (TENANT, OTHER_TENANT)]
    await settle()
    assert all(holder.is_in for holder in whole)
    for holder in whole:
        await holder.leave()
