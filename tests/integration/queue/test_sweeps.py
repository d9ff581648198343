"""Sweeping: rows of dead workers go on, those of living ones are never touched."""

import asyncio
import datetime as dt

import pytest
from sqlalchemy import text

from tallypost_domain.queue import sweeps
from tallypost_domain.queue.claims import LEASE_S, beat, sign_off
from tallypost_domain.queue.sweeps import WORKER_LOST, Swept, sweep_abandoned
from tallypost_domain.suppressions.service import suppress
from tests.integration.queue.harness import POLICY, Harness, hours, ids
from tests.support.database import PEPPERS, SeededTenant


async def _suppress(queue: Harness, owner: SeededTenant, address: str, ago: dt.timedelta) -> None:
    async with queue.database.session("tp_cli", owner.id) as session:
        await suppress(session, owner.id, "live", address, origin="manual", peppers=PEPPERS)
        await session.execute(
            text(
                "UPDATE suppressions SET created_at = created_at - CAST(:ago AS interval)"
                " WHERE created_at = now()"
            ),
            {"ago": ago},
        )


async def _sweep(queue: Harness) -> tuple[int, int]:
    swept: Swept = await sweep_abandoned(queue.pool, POLICY, PEPPERS)
    return swept.released, swept.unconfirmed


async def test_claimed_rows_of_a_dead_worker_are_due_again_at_once(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    added = [*await queue.add(tenant, 3), *await queue.add(other_tenant, 2)]
    dead, living = await queue.start_worker(), await queue.start_worker()
    claims = await queue.claim(dead, tenant, other_tenant)
    await queue.age_beat(dead, LEASE_S + 1)
    assert await _sweep(queue) == (5, 0)
    for owner in (tenant, other_tenant):
        assert await queue.fetch(owner, "SELECT 1 FROM attempts") == []
        statuses = await queue.fetch(owner, "SELECT DISTINCT status FROM recipients")
        assert [row["status"] for row in statuses] == ["queued"]
    again = await queue.claim(living, tenant, other_tenant)
    assert sorted(ids(again)) == sorted(added)
    assert {(claim.fence, claim.attempt) for claim in again} == {(2, 0)}
    # Whoever comes back to them finds that they are not its own any more.
    assert await queue.mark(dead, *claims) == ()


async def test_sweep_says_that_it_left_some_and_the_next_one_takes_those(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeps, "_CHUNK", 3)
    await queue.add(tenant, 2)
    await queue.add(other_tenant, 2)
    dead = await queue.start_worker()
    await queue.hand_over(dead, tenant, other_tenant)
    await queue.age_beat(dead, LEASE_S + 1)
    assert await sweep_abandoned(queue.pool, POLICY, PEPPERS) == Swept(0, 3, is_more=True)
    assert await sweep_abandoned(queue.pool, POLICY, PEPPERS) == Swept(0, 1)
    for owner in (tenant, other_tenant):
        statuses = await queue.fetch(owner, "SELECT status FROM emails")
        assert [row["status"] for row in statuses] == ["unconfirmed"] * 2


async def test_row_that_may_have_left_is_listed_and_sent_again_on_the_transactional_lane(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    (other_id,) = await queue.add(other_tenant)
    dead = await queue.start_worker()
    await queue.hand_over(dead, tenant, other_tenant)
    await queue.age_beat(dead, LEASE_S + 1)
    assert await _sweep(queue) == (0, 2)
    for owner, lost_id, count in ((tenant, email_id, 2), (other_tenant, other_id, 1)):
        assert await queue.attempts(owner, lost_id) == [(1, "ambiguous", False)]
        (attempt,) = await queue.fetch(owner, "SELECT * FROM attempts")
        assert (attempt["phase"], attempt["worker_id"]) == (WORKER_LOST, dead)
        assert await queue.events(owner, lost_id) == ["email.unconfirmed"] * count
        assert set((await queue.statuses(owner, lost_id)).values()) == {"unconfirmed"}
        row = await queue.find_row(owner, lost_id)
        assert row is not None
        assert (row["state"], row["worker_id"], row["attempt"]) == ("waiting", None, 1)
        assert await queue.billed(owner, lost_id) == 0
    await queue.make_due(tenant, email_id)
    living = await queue.start_worker()
    (claim,) = await queue.hand_over(living, tenant)
    assert claim.attempt == 2
    (email,) = await queue.load(claim)
    assert {to.address for to in email.recipients} == {"a@r.test", "b@r.test"}


@pytest.mark.parametrize("is_bulk", [False, True])
async def test_whoever_was_suppressed_before_the_handover_is_not_in_doubt(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, *, is_bulk: bool
) -> None:
    add, lane = (queue.add_bulk, "bulk") if is_bulk else (queue.add, "transactional")
    owners = (tenant, other_tenant)
    added = [(await add(owner, to=["a@r.test", "b@r.test", "c@r.test"]))[0] for owner in owners]
    # One before the rows were due, of one tenant; and one perhaps after the email was loaded.
    await _suppress(queue, tenant, "b@r.test", hours(1))
    await _suppress(queue, tenant, "c@r.test", hours(0))
    dead = await queue.start_worker()
    await queue.hand_over(dead, *owners, lane=lane)
    await queue.age_beat(dead, LEASE_S + 1)
    assert await _sweep(queue) == (0, 2)
    doubt = {"a": "unconfirmed", "c": "unconfirmed", "email": "unconfirmed"}
    assert await queue.statuses(tenant, added[0]) == {**doubt, "b": "queued"}
    assert await queue.statuses(other_tenant, added[1]) == {**doubt, "b": "unconfirmed"}
    (attempt,) = await queue.fetch(tenant, "SELECT recipients FROM attempts")
    assert attempt["recipients"].count("recipient_id") == 2

    # It is put on record with the next handover, or where there is none, by itself.
    await queue.make_due(tenant, added[0])
    (claim,) = await queue.claim(await queue.start_worker(), tenant, lane=lane)
    (email,) = await queue.load(claim)
    suppressed = {to.address for to in email.recipients if to.is_suppressed}
    assert suppressed == ({"b@r.test"} if is_bulk else {"b@r.test", "c@r.test"})


async def test_row_that_may_have_left_is_listed_and_put_aside_on_the_bulk_lane(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add_bulk(tenant)
    dead = await queue.start_worker()
    await queue.hand_over(dead, tenant, lane="bulk")
    await queue.age_beat(dead, LEASE_S + 1)
    assert await _sweep(queue) == (0, 1)
    assert await queue.state(tenant, email_id) == "ambiguous"
    assert await queue.events(tenant, email_id) == ["email.unconfirmed"]
    await queue.make_due(tenant, email_id)
    assert await queue.claim(await queue.start_worker(), tenant, lane="bulk") == []


async def test_after_the_last_attempt_a_lost_one_stays_listed_and_is_no_dead_letter(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    for _ in POLICY.schedule_s:
        (claim,) = await queue.hand_over(worker, tenant)
        await queue.record(worker, await queue.settle(worker, claim, "deferred"))
        await queue.make_due(tenant, email_id)
    await queue.hand_over(worker, tenant)
    await queue.age_beat(worker, LEASE_S + 1)
    assert await _sweep(queue) == (0, 1)
    assert await queue.state(tenant, email_id) == "ambiguous"
    assert await queue.statuses(tenant, email_id) == {
        "first": "unconfirmed",
        "email": "unconfirmed",
    }


@pytest.mark.parametrize("age_s", [0.0, LEASE_S - 5])
async def test_rows_of_a_living_worker_are_never_swept(
    queue: Harness, tenant: SeededTenant, age_s: float
) -> None:
    await queue.add(tenant, 2)
    living, dead = await queue.start_worker(), await queue.start_worker()
    first = await queue.claim(living, tenant, quota=1)
    await queue.mark(living, *first)
    await queue.claim(living, tenant)
    await queue.age_beat(living, age_s)
    await queue.age_beat(dead, LEASE_S + 1)
    before = await queue.snapshot(tenant)
    assert await _sweep(queue) == (0, 0)
    assert await queue.snapshot(tenant) == before


async def test_worker_that_signed_off_leaves_nothing_behind(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    await queue.claim(worker, tenant)
    async with queue.pool.acquire() as connection:
        await sign_off(connection, worker)
    assert await _sweep(queue) == (1, 0)
    assert await queue.state(tenant, email_id) == "waiting"


async def test_rows_that_wait_or_are_put_aside_are_nobodys_to_sweep(
    queue: Harness, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await queue.add_bulk(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
    await queue.age_beat(worker, LEASE_S + 1)
    before = await queue.snapshot(tenant)
    assert await _sweep(queue) == (0, 0)
    assert await queue.snapshot(tenant) == before


async def test_sweepers_at_once_record_each_loss_once(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, 10)
    await queue.add(other_tenant, 10)
    dead = await queue.start_worker()
    marked = await queue.claim(dead, tenant, other_tenant, quota=5)
    await queue.mark(dead, *marked)
    await queue.claim(dead, tenant, other_tenant)
    await queue.age_beat(dead, LEASE_S + 1)
    await asyncio.gather(*(_sweep(queue) for _ in range(4)))
    for owner in (tenant, other_tenant):
        rows = await queue.fetch(owner, "SELECT state, attempt FROM send_queue")
        assert sorted((row["state"], row["attempt"]) for row in rows) == sorted(
            [("waiting", 0), ("waiting", 1)] * 5
        )
        assert len(await queue.fetch(owner, "SELECT 1 FROM attempts")) == 5
        lost = await queue.fetch(owner, "SELECT 1 FROM events WHERE type = 'email.unconfirmed'")
        assert len(lost) == 5
    assert await _sweep(queue) == (0, 0)


async def test_worker_that_comes_back_in_time_keeps_its_results(
    queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant)
    await queue.age_beat(worker, LEASE_S + 1)
    async with queue.pool.acquire() as connection:
        await beat(connection, worker)
    assert await _sweep(queue) == (0, 0)
    await queue.record(worker, await queue.settle(worker, claim, "accepted"))
    assert await queue.attempts(tenant, email_id) == [(1, "accepted", False)]


async def test_more_rows_than_one_sweep_takes_are_freed_by_the_next(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, 100)
    await queue.add(tenant, 100)
    await queue.add(other_tenant, 50)
    dead = await queue.start_worker()
    assert len(await queue.claim(dead, tenant, other_tenant, quota=300)) == 250
    await queue.age_beat(dead, LEASE_S + 1)
    assert [await _sweep(queue) for _ in range(3)] == [(200, 0), (50, 0), (0, 0)]


async def test_result_and_sweep_at_the_same_moment_end_in_one_truth(
    queue: Harness, tenant: SeededTenant
) -> None:
    added = await queue.add(tenant, 40)
    worker = await queue.start_worker()
    claims = await queue.hand_over(worker, tenant)
    answers = [await queue.settle(worker, claim, "accepted") for claim in claims]
    await queue.age_beat(worker, LEASE_S + 1)

    async def record() -> None:
        for answer in answers:
            await queue.record(worker, answer)

    await asyncio.gather(record(), _sweep(queue))
    for email_id in added:
        assert await queue.attempts(tenant, email_id) in (
            [(1, "accepted", False)],
            [(1, "ambiguous", False), (1, "accepted", True)],
        )
    rows = await queue.fetch(tenant, "SELECT DISTINCT status FROM recipients")
    assert [row["status"] for row in rows] == ["sent"]
    assert len(await queue.fetch(tenant, "SELECT 1 FROM usage_ledger")) == len(added)
    assert await queue.fetch(tenant, "SELECT 1 FROM send_queue") == []
