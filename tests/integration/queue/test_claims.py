"""Claiming: due rows only, fairly, and never one row by two workers."""

import asyncio
from uuid import UUID

from tallypost_core import clock
from tallypost_domain.emails.service import cancel
from tallypost_domain.queue.claims import (
    LEASE_S,
    beat,
    list_due_tenants,
    list_held,
    release_claims,
    sign_off,
)
from tallypost_domain.queue.types import Claim
from tests.integration.queue.harness import Harness, hours, ids
from tests.support.database import SeededTenant


async def test_due_rows_are_claimed_oldest_first_and_future_ones_wait(
    queue: Harness, tenant: SeededTenant
) -> None:
    later = (clock.utc_now() + hours(1)).isoformat()
    await queue.add(tenant, scheduled_at=later)
    due = [*await queue.add(tenant), *await queue.add(tenant), *await queue.add(tenant)]
    worker = await queue.start_worker()
    first = await queue.claim(worker, tenant, quota=2)
    assert sorted(ids(first)) == sorted(due[:2])
    assert {(claim.fence, claim.attempt, claim.lane) for claim in first} == {
        (1, 0, "transactional")
    }
    assert ids(await queue.claim(worker, tenant)) == due[2:]
    assert await queue.claim(worker, tenant) == []
    row = await queue.find_row(tenant, due[0])
    assert row is not None
    assert (row["state"], row["worker_id"], row["attempt"]) == ("claimed", worker, 0)


async def test_each_tenant_gives_up_to_the_quota(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, 20)
    await queue.add(other_tenant, 2)
    worker = await queue.start_worker()
    claims = await queue.claim(worker, tenant, other_tenant, quota=3)
    by_tenant = [
        sum(claim.tenant_id == owner.id for claim in claims) for owner in (tenant, other_tenant)
    ]
    assert by_tenant == [3, 2]


async def test_only_named_tenants_and_the_named_lane_are_claimed_from(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (urgent,) = await queue.add(tenant)
    (bulk,) = await queue.add_bulk(tenant)
    await queue.add(other_tenant)
    worker = await queue.start_worker()
    assert await queue.claim(worker) == []
    assert ids(await queue.claim(worker, tenant, lane="bulk")) == [bulk]
    assert ids(await queue.claim(worker, tenant)) == [urgent]
    assert len(await queue.fetch(other_tenant, "SELECT 1 FROM send_queue WHERE fence = 0")) == 1


async def test_workers_that_claim_at_once_share_the_rows_without_doubling(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    added = {*await queue.add(tenant, 100), *await queue.add(other_tenant, 100)}

    async def drain(worker: UUID) -> list[Claim]:
        mine: list[Claim] = []
        while claims := await queue.claim(worker, tenant, other_tenant, quota=5):
            mine += claims
        return mine

    workers = [await queue.start_worker() for _ in range(6)]
    shares = await asyncio.gather(*map(drain, workers))
    claimed = [claim for share in shares for claim in share]
    assert len(claimed) == len(added)
    assert set(ids(claimed)) == added
    assert {claim.fence for claim in claimed} == {1}
    for worker, share in zip(workers, shares, strict=True):
        held = await list_held(queue.pool, worker, [tenant.id, other_tenant.id])
        assert sorted(ids(held)) == sorted(ids(share))


async def test_row_that_somebody_else_has_locked_is_passed_over(
    queue: Harness, tenant: SeededTenant
) -> None:
    later = (clock.utc_now() + hours(1)).isoformat()
    (locked,) = await queue.add(tenant, scheduled_at=later)
    await queue.make_due(tenant, locked)
    (free,) = await queue.add(tenant)
    worker = await queue.start_worker()
    async with queue.database.session("tp_api", tenant.id) as session:
        await cancel(session, tenant.id, "live", locked)
        assert ids(await queue.claim(worker, tenant)) == [free]
    assert await queue.claim(worker, tenant) == []


async def test_released_rows_are_due_at_once_and_only_what_is_held_is_released(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, 3)
    await queue.add(other_tenant)
    worker, stranger = await queue.start_worker(), await queue.start_worker()
    claims = await queue.claim(worker, tenant, other_tenant)
    marked = claims[0]
    await queue.mark(worker, marked)
    stale = [Claim(c.tenant_id, c.email_id, c.lane, c.fence - 1, c.attempt) for c in claims]
    await release_claims(queue.pool, stranger, claims)
    await release_claims(queue.pool, worker, stale)
    await release_claims(queue.pool, worker, [])
    tenants = [tenant.id, other_tenant.id]
    assert len(await list_held(queue.pool, worker, tenants)) == 3
    await release_claims(queue.pool, worker, claims)
    assert await list_held(queue.pool, worker, tenants) == []
    # What may have left is nobody's to release.
    assert await queue.state(tenant, marked.email_id) == "handing_over" or (
        await queue.state(other_tenant, marked.email_id) == "handing_over"
    )
    again = await queue.claim(stranger, tenant, other_tenant)
    assert sorted(ids(again)) == sorted(ids(claims[1:]))
    assert {claim.fence for claim in again} == {2}


async def test_held_rows_are_listed_of_one_worker_in_the_named_tenants(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, 2)
    await queue.add(other_tenant, 2)
    worker, stranger = await queue.start_worker(), await queue.start_worker()
    mine = await queue.claim(worker, tenant, quota=1)
    mine += await queue.claim(worker, other_tenant, quota=1)
    await queue.claim(stranger, tenant, other_tenant)
    held = await list_held(queue.pool, worker, [tenant.id])
    assert held == [claim for claim in mine if claim.tenant_id == tenant.id]


async def test_due_tenants_are_those_with_a_waiting_row_that_is_due_in_the_lane(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async def due(lane: str) -> set[UUID]:
        return set(await list_due_tenants(queue.pool, lane))

    assert await due("transactional") == set()
    later = (clock.utc_now() + hours(1)).isoformat()
    (scheduled,) = await queue.add(tenant, scheduled_at=later)
    await queue.add_bulk(other_tenant)
    assert (await due("transactional"), await due("bulk")) == (set(), {other_tenant.id})
    await queue.make_due(tenant, scheduled)
    await queue.add(other_tenant)
    assert await due("transactional") == {tenant.id, other_tenant.id}
    await queue.claim(await queue.start_worker(), tenant)
    assert await due("transactional") == {other_tenant.id}


async def test_beat_signs_a_worker_on_and_renews_its_lease_and_sign_off_forgets_it(
    queue: Harness,
) -> None:
    worker = await queue.start_worker()
    await queue.age_beat(worker, LEASE_S + 100)
    query = "SELECT now() - beat_at < interval '10 seconds' FROM workers WHERE id = $1"
    assert await queue.pool.fetchval(query, worker) is False
    async with queue.pool.acquire() as connection:
        await beat(connection, worker)
        assert await connection.fetchval(query, worker) is True
        await sign_off(connection, worker)
        await sign_off(connection, worker)
    assert await queue.pool.fetchval("SELECT count(*) FROM workers") == 0
