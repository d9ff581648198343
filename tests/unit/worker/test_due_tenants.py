"""Turns go to who was served longest ago; nobody who waits is passed over."""

import asyncio
from collections.abc import Callable
from typing import cast
from uuid import UUID

import pytest

from tallypost_core.ids import new_id
from tallypost_domain.db.pools import Pool
from tallypost_domain.emails.types import Lane
from tallypost_worker.wakeups import DueTenants

LANE = Lane.TRANSACTIONAL


@pytest.fixture
def due() -> DueTenants:
    """A list that asks no database: the test says who is due."""
    return DueTenants(cast("Pool", None), "")


def tenants(count: int) -> list[UUID]:
    return [new_id() for _ in range(count)]


async def test_tenants_that_were_never_served_come_in_the_order_of_their_word(
    due: DueTenants,
) -> None:
    waiting = tenants(5)
    due.note(LANE, waiting)
    due.note(LANE, [waiting[4]])
    assert list(due.take(LANE, 3)) == waiting[:3]
    assert list(due.take(LANE, 3)) == [*waiting[3:], waiting[0]]


async def test_quiet_tenant_goes_before_busy_ones(due: DueTenants) -> None:
    busy = tenants(4)
    due.note(LANE, busy)
    due.take(LANE, 4)
    (quiet,) = tenants(1)
    due.note(LANE, [quiet])
    assert next(iter(due.take(LANE, 1))) == quiet


async def test_tenant_that_sends_a_little_all_the_time_passes_nobody_who_waits(
    due: DueTenants,
) -> None:
    waiting = tenants(10)
    eager = tenants(3)
    due.note(LANE, waiting)
    served: list[UUID] = []
    for _ in range(13):
        due.note(LANE, eager)
        # Each eager one is found to have no more, and is back before the next round.
        for tenant_id, as_of in due.take(LANE, 3).items():
            served.append(tenant_id)
            due.forget(LANE, tenant_id, as_of)
    assert set(waiting) <= set(served)
    # In ten rounds of three everybody who waited had a turn.
    assert set(waiting) <= set(served[:30])


async def test_two_lanes_are_two_lists(due: DueTenants) -> None:
    (first, second) = tenants(2)
    due.note(Lane.TRANSACTIONAL, [first])
    due.note(Lane.BULK, [second])
    assert list(due.take(Lane.TRANSACTIONAL, 9)) == [first]
    assert list(due.take(Lane.BULK, 9)) == [second]


async def test_forgotten_tenant_is_gone_until_the_next_word(due: DueTenants) -> None:
    (tenant_id,) = tenants(1)
    due.note(LANE, [tenant_id])
    due.forget(LANE, tenant_id, due.take(LANE, 1)[tenant_id])
    assert due.take(LANE, 1) == {}
    due.note(LANE, [tenant_id])
    assert list(due.take(LANE, 1)) == [tenant_id]


async def test_word_that_comes_during_a_claim_is_not_forgotten_with_it(due: DueTenants) -> None:
    (tenant_id,) = tenants(1)
    due.note(LANE, [tenant_id])
    as_of = due.take(LANE, 1)[tenant_id]
    due.note(LANE, [tenant_id])
    due.forget(LANE, tenant_id, as_of)
    assert list(due.take(LANE, 1)) == [tenant_id]


async def test_taking_none_takes_none(due: DueTenants) -> None:
    due.note(LANE, tenants(2))
    assert due.take(LANE, 0) == {}
    assert len(due.take(LANE, 9)) == 2


async def test_wait_ends_at_a_word_at_a_wake_and_at_its_time(due: DueTenants) -> None:
    await due.wait(LANE, 0.001)
    due.note(LANE, [])
    ends: list[Callable[[], None]] = [
        lambda: due.note(LANE, tenants(1)),
        lambda: due.wake(LANE),
    ]
    for end in ends:
        waiting = asyncio.create_task(due.wait(LANE, 600))
        due.note(Lane.BULK, tenants(1))
        due.wake(Lane.BULK)
        await asyncio.sleep(0)
        assert not waiting.done()
        end()
        await asyncio.wait_for(waiting, 5)
    # A word that came before the wait counts as well, once.
    due.wake(LANE)
    await asyncio.wait_for(due.wait(LANE, 600), 5)
    waiting = asyncio.create_task(due.wait(LANE, 600))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
