"""Claims of due events, their leases, and what is recorded of them."""

import asyncio

import asyncpg
import pytest

from tallypost_core.ids import new_id
from tallypost_domain.db.pools import Pool, transaction
from tallypost_domain.subscribers import administration
from tallypost_domain.subscribers.feeding import (
    claim_events,
    claim_lost_event,
    record_failed,
    record_handled,
    register,
)
from tallypost_domain.subscribers.types import EventClaim, FailedDelivery, SubscriberState
from tests.integration.queue.harness import Harness
from tests.integration.subscribers.rows import (
    age_subscriber,
    deliveries_of,
    events_of,
    make_due,
    rows_of,
)
from tests.support.backends import PostgresLogins
from tests.support.database import SeededTenant, with_database


@pytest.fixture(autouse=True)
async def named(pool: Pool) -> None:
    """Two subscriber_feeder."""
    await register(pool, "ledger", is_hanging=None)
    await register(pool, "second", is_hanging=None)


async def _claim(pool: Pool, limit: int = 100, name: str = "ledger") -> list[EventClaim]:
    return list((await claim_events(pool, name, limit)).claims)


async def _states(queue: Harness, tenant: SeededTenant) -> dict[str, SubscriberState]:
    async with queue.database.session("tp_cli", tenant.id) as session:
        states = await administration.list_subscribers_all_tenants(session)
    return {state.name: state for state in states}


async def test_claim_has_the_event_as_it_is_stored_with_its_own_tenant(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    (first,) = await queue.add(tenant)
    (other,) = await queue.add(other_tenant, mode="test")
    events = {claim.event.subject_id: claim.event for claim in await _claim(pool) if claim.event}
    assert set(events) == {first, other}
    for owner, email_id, mode in ((tenant, first, "live"), (other_tenant, other, "test")):
        (row,) = await queue.fetch(owner, "SELECT * FROM events")
        event = events[email_id]
        assert (event.tenant_id, event.mode) == (owner.id, mode)
        assert (event.id, event.type, event.recipient_id, event.created_at) == (
            *(row["id"], row["type"], row["recipient_id"], row["created_at"]),
        )
        assert event.data == {}


async def test_claimed_event_is_nobody_elses_until_its_lease_is_over(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    (claim,) = await _claim(pool)
    assert claim.attempt == 1
    assert await _claim(pool) == []
    # As if the worker had died and a minute had passed.
    await make_due(queue, tenant, "ledger")
    # It may be what the worker died of: nobody gets it among others.
    assert await _claim(pool) == []
    (again,) = (await claim_lost_event(pool, "ledger")).claims
    assert (again.key, again.attempt, again.lost_as) == (claim.key, 2, "among_others")
    await make_due(queue, tenant, "ledger")
    (third,) = (await claim_lost_event(pool, "ledger")).claims
    assert (third.attempt, third.lost_as) == (3, "alone")
    # The other subscriber has its own turn.
    assert [claim.key for claim in await _claim(pool, name="second")] == [claim.key]


async def test_lost_event_is_claimed_when_it_is_its_turn_and_by_one_worker_only(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, count=2)
    lost = {claim.key for claim in await _claim(pool)}
    await queue.add(other_tenant, count=2)
    assert (await claim_lost_event(pool, "ledger")).claims == ()
    await make_due(queue, tenant, "ledger")
    await make_due(queue, other_tenant, "ledger")
    async with queue.database.connect("tp_worker") as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('app.tenant_ids', $1, true)", f"{{{tenant.id}}}"
        )
        await connection.execute(
            "UPDATE event_deliveries SET due_at = due_at + interval '0.5 seconds'"
        )
    claimed = await claim_events(pool, "ledger", 10)
    assert {claim.key.tenant_id for claim in claimed.claims} == {other_tenant.id}
    assert claimed.is_lost_next
    both = await asyncio.gather(*(claim_lost_event(pool, "ledger") for _ in range(4)))
    keys = [claim.key for claimed in both for claim in claimed.claims]
    assert len(keys) == len(set(keys)) > 0
    assert set(keys) <= lost


async def test_workers_that_claim_at_once_share_the_events(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant, count=30)
    await queue.add(other_tenant, count=30)

    async def claim_all() -> list[EventClaim]:
        found: list[EventClaim] = []
        while True:
            claimed = await claim_events(pool, "ledger", 7)
            found += claimed.claims
            if not claimed.claims and not claimed.may_be_more:
                return found

    shares = await asyncio.gather(*(claim_all() for _ in range(4)))
    keys = [claim.key for share in shares for claim in share]
    assert len(keys) == len(set(keys)) == 60


async def test_handled_event_is_gone_for_this_subscriber_alone(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await queue.add(other_tenant)
    (mine,) = [claim for claim in await _claim(pool) if claim.key.tenant_id == tenant.id]
    await record_handled(pool, "ledger", [mine.key])
    assert await deliveries_of(queue, tenant, "ledger") == []
    assert await deliveries_of(queue, tenant, "second") == await events_of(queue, tenant)
    assert await deliveries_of(queue, other_tenant, "ledger") == await events_of(
        queue, other_tenant
    )


async def test_failed_event_waits_and_then_is_dead_until_it_is_retried(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await queue.add(other_tenant)
    first = await _claim(pool)
    await record_failed(
        pool, "ledger", [FailedDelivery(claim, "ValueError", 3600) for claim in first]
    )
    assert await _claim(pool) == []
    (row,) = await rows_of(queue, tenant, "ledger")
    assert (row["state"], row["attempt"], row["last_error"]) == ("waiting", 1, "ValueError")
    await make_due(queue, tenant, "ledger")
    (second,) = await _claim(pool)
    await record_failed(pool, "ledger", [FailedDelivery(second, "KeyError", None)])
    (row,) = await rows_of(queue, tenant, "ledger")
    assert (row["state"], row["attempt"], row["last_error"]) == ("dead", 2, "KeyError")
    state = (await _states(queue, tenant))["ledger"]
    assert (state.waiting, state.dead, state.last_error) == (1, 1, "KeyError")
    async with queue.database.session("tp_cli", tenant.id) as session:
        assert await administration.retry_dead_all_tenants(session, "second") == 0
        assert await administration.retry_dead_all_tenants(session, "ledger") == 1
    (again,) = await _claim(pool)
    # Of the other tenant nothing was dead, and what waits goes on waiting.
    assert (again.key, again.attempt) == (second.key, 1)
    (row,) = await rows_of(queue, other_tenant, "ledger")
    assert (row["state"], row["attempt"]) == ("waiting", 1)


async def test_late_failure_changes_nothing_and_late_success_ends_it(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    (old,) = await _claim(pool)
    await make_due(queue, tenant, "ledger")
    (new,) = (await claim_lost_event(pool, "ledger")).claims
    (before,) = await rows_of(queue, tenant, "ledger")
    await record_failed(pool, "ledger", [FailedDelivery(old, "TimeoutError", None)])
    assert await rows_of(queue, tenant, "ledger") == [before]
    await record_handled(pool, "ledger", [old.key])
    assert await rows_of(queue, tenant, "ledger") == []
    await record_failed(pool, "ledger", [FailedDelivery(new, "TimeoutError", 5)])
    assert await rows_of(queue, tenant, "ledger") == []


async def test_event_that_was_given_back_is_due_at_once_and_not_counted(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    (claim,) = await _claim(pool)
    await record_failed(pool, "ledger", [FailedDelivery(claim, None, 0.0)])
    (again,) = await _claim(pool)
    assert again.attempt == 1


async def test_event_that_is_not_stored_any_more_comes_without_one(
    queue: Harness, pool: Pool, tenant: SeededTenant, postgres: PostgresLogins
) -> None:
    # As after its partition was dropped.
    connection = await asyncpg.connect(with_database(postgres.superuser_url, queue.database.name))
    try:
        await connection.execute(
            "INSERT INTO event_deliveries (tenant_id, subscriber, subject_id, event_id) "
            "VALUES ($1, 'ledger', $2, $3)",
            *(tenant.id, new_id(), new_id()),
        )
    finally:
        await connection.close()
    (claim,) = await _claim(pool)
    assert claim.event is None


async def test_worker_sees_and_changes_deliveries_of_the_tenants_that_it_names(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await queue.add(other_tenant)
    async with transaction(pool, [tenant.id]) as connection:
        for table in ("event_deliveries", "events"):
            seen = await connection.fetch(f"SELECT DISTINCT tenant_id FROM {table}")  # noqa: S608 - names of this test
            assert [row["tenant_id"] for row in seen] == [tenant.id]
        await connection.execute("UPDATE event_deliveries SET last_error = 'mine'")
        await connection.execute("DELETE FROM event_deliveries WHERE subscriber = 'ledger'")
    others = await rows_of(queue, other_tenant, "second")
    assert [row["last_error"] for row in others] == [None]
    assert len(await rows_of(queue, other_tenant, "ledger")) == 1
    assert await rows_of(queue, tenant, "ledger") == []
    async with transaction(pool, []) as connection:
        assert await connection.fetchval("SELECT count(*) FROM event_deliveries") == 0


async def test_hanging_is_told_until_who_said_it_takes_it_back(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    for word, shown in ((True, True), (None, True), (False, False)):
        await register(pool, "ledger", is_hanging=word)
        states = await _states(queue, tenant)
        assert (states["ledger"].is_hanging, states["second"].is_hanging) == (shown, False)


async def test_subscriber_is_forgotten_only_once_no_worker_names_it(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await queue.add(other_tenant)

    async def forget() -> int | None:
        async with queue.database.session("tp_cli", tenant.id) as session:
            return await administration.forget_all_tenants(session, "ledger")

    assert await forget() is None
    assert len(await rows_of(queue, tenant, "ledger")) == 1
    await age_subscriber(queue, "ledger", 0.2)
    assert await forget() == 2
    # From then on nothing more is kept for it, also before the last call.
    await queue.add(tenant)
    assert await rows_of(queue, tenant, "ledger") == []
    assert (await _states(queue, tenant))["ledger"].seen_ago_s is None
    assert await forget() == 0
    assert set(await _states(queue, tenant)) == {"second"}
    assert len(await rows_of(queue, tenant, "second")) == 2


@pytest.mark.parametrize(("beyond_s", "is_lately"), [(-60, True), (60, False)])
async def test_database_forgets_a_subscriber_from_when_on_we_say_that_it_is_not_named_lately(
    queue: Harness,
    pool: Pool,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    beyond_s: float,
    is_lately: bool,
) -> None:
    for owner in (tenant, other_tenant):
        await queue.add(owner)
    await age_subscriber(queue, "ledger", (administration.NAMED_LATELY_S + beyond_s) / 3600)
    state = (await _states(queue, tenant))["ledger"]
    assert administration.is_named_lately(state) is is_lately
    async with queue.database.session("tp_cli", tenant.id) as session:
        dropped = await administration.forget_all_tenants(session, "ledger")
    assert dropped == (None if is_lately else 2)
