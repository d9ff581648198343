"""Emails that a worker gives back: nothing was handed over, and nothing counts against them."""

import pytest
from msgspec.structs import replace

from tallypost_domain.db.pools import transaction
from tallypost_domain.queue.claims import release_claims
from tests.integration.queue.harness import Harness, ids
from tests.support.database import SeededTenant


async def test_postponed_email_is_due_again_and_nothing_is_counted_against_it(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    for is_marked in (False, True) * 3:
        (claim,) = await queue.claim(worker, tenant)
        assert claim.attempt == 0
        if is_marked:
            (claim,) = await queue.mark(worker, claim)
            assert claim.attempt == 1
        await queue.record(worker, await queue.postpone(worker, claim, 0.0))
    (claim,) = await queue.hand_over(worker, tenant)
    assert claim.attempt == 1
    await queue.record(worker, await queue.settle(worker, claim, "deferred"))
    row = await queue.find_row(tenant, email_id)
    assert row is not None
    assert (row["state"], row["attempt"], row["worker_id"]) == ("waiting", 1, None)


@pytest.mark.parametrize("is_marked", [False, True])
async def test_email_that_keeps_its_turn_is_as_it_was_before_its_claim(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, is_marked: bool
) -> None:
    first, second = [(await queue.add(tenant))[0] for _ in range(2)]
    await queue.add(other_tenant)
    others = await queue.snapshot(other_tenant)
    row = await queue.find_row(tenant, first)
    assert row is not None
    worker = await queue.start_worker()
    (claim,) = await queue.claim(worker, tenant, quota=1)
    if is_marked:
        (claim,) = await queue.mark(worker, claim)
    turn = await queue.postpone(worker, claim)
    for _ in range(2):
        await queue.record(worker, turn)
        assert await queue.find_row(tenant, first) == {**row, "fence": claim.fence}
    assert await queue.events(tenant, first) == []
    assert await queue.attempts(tenant, first) == []
    assert await queue.snapshot(other_tenant) == others
    in_order = [*await queue.claim(worker, tenant, quota=1), *await queue.claim(worker, tenant)]
    assert ids(in_order) == [first, second]


@pytest.mark.parametrize("retry_in_s", [None, 30.0])
async def test_turn_that_changes_the_queue_alone_waits_for_no_lock_of_an_email(
    queue: Harness, tenant: SeededTenant, retry_in_s: float | None
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    turn = await queue.postpone(worker, claim, retry_in_s)
    async with transaction(queue.pool, [tenant.id]) as connection:
        await connection.execute("SELECT 1 FROM emails FOR UPDATE")
        await connection.execute("SELECT 1 FROM recipients FOR UPDATE")
        # A wait for the lock would end as an outage.
        await queue.record(worker, turn)
    row = await queue.find_row(tenant, email_id)
    assert row is not None
    assert (row["state"], row["attempt"], row["worker_id"]) == ("waiting", 0, None)


@pytest.mark.parametrize("retry_in_s", [None, 30.0])
async def test_turn_comes_to_the_same_on_the_email_as_loaded_and_under_locks(
    queue: Harness, tenant: SeededTenant, retry_in_s: float | None
) -> None:
    loaded, locked = await queue.add(tenant, 2)
    worker = await queue.start_worker()
    turns = {
        claim.email_id: await queue.postpone(worker, claim, retry_in_s)
        for claim in await queue.hand_over(worker, tenant)
    }
    before = {id_: await queue.find_row(tenant, id_) for id_ in turns}
    await queue.record(worker, turns[loaded])
    await queue.record(worker, replace(turns[locked], as_loaded=None))
    for id_ in turns:
        row, old = await queue.find_row(tenant, id_), before[id_]
        assert row is not None
        assert old is not None
        assert (row["state"], row["attempt"], row["worker_id"]) == ("waiting", 0, None)
        assert (row["due_at"] == old["due_at"]) is (retry_in_s is None)


async def test_turn_of_a_row_that_is_somebody_elses_by_now_changes_nothing(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    (other_id,) = await queue.add(other_tenant)
    worker, stranger = await queue.start_worker(), await queue.start_worker()
    lost, kept = await queue.claim(worker, tenant), await queue.claim(worker, other_tenant)
    turns = [await queue.postpone(worker, claim) for claim in (*lost, *kept)]
    await release_claims(queue.pool, worker, lost)
    await queue.hand_over(stranger, tenant)
    before = await queue.snapshot(tenant)
    await queue.record(worker, *turns)
    assert await queue.snapshot(tenant) == before
    assert await queue.state(tenant, email_id) == "handing_over"
    assert await queue.state(other_tenant, other_id) == "waiting"


async def test_turn_of_an_email_that_was_settled_meanwhile_ends_with_the_next_claim(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    turn = await queue.postpone(worker, claim)
    async with transaction(queue.pool, [tenant.id]) as connection:
        await connection.execute("UPDATE recipients SET status = 'delivered'")
        await connection.execute("UPDATE emails SET status = 'delivered'")
    await queue.record(worker, turn)
    assert await queue.statuses(tenant, email_id) == {"first": "delivered", "email": "delivered"}
    (claim,) = await queue.claim(worker, tenant)
    (email,) = await queue.load(claim)
    assert email.recipients == ()
    # Nobody is left to send to, which ends the row.
    await queue.record(worker, await queue.postpone(worker, claim))
    assert await queue.state(tenant, email_id) is None
