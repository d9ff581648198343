"""Each stored event makes one delivery for each subscriber, whoever stores it, and no more."""

import asyncpg
import pytest

from tallypost_core import clock
from tallypost_core.ids import new_id
from tallypost_domain.db.pools import Pool
from tallypost_domain.emails.service import cancel
from tallypost_domain.subscribers import administration
from tallypost_domain.subscribers.feeding import register
from tests.integration.queue.harness import Harness, hours
from tests.integration.queue.people import Person, let_fail
from tests.integration.subscribers.rows import age_subscriber, deliveries_of, events_of
from tests.support.backends import PostgresLogins
from tests.support.database import SeededTenant, with_database

INSERT = """
    INSERT INTO events (tenant_id, subject_id, id, mode, type, data)
    VALUES ($1, $2, $3, 'live', 'email.sent', '{}')
"""


async def _agree(queue: Harness, *tenants: SeededTenant, subscriber: str = "ledger") -> int:
    """The number of events, each of which is to be told once."""
    count = 0
    for tenant in tenants:
        events = await events_of(queue, tenant)
        assert await deliveries_of(queue, tenant, subscriber) == events
        count += len(events)
    return count


async def _types(queue: Harness, tenant: SeededTenant) -> set[str]:
    return {row["type"] for row in await queue.fetch(tenant, "SELECT type FROM events")}


async def test_every_writer_of_events_feeds_every_subscriber(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await register(pool, "ledger", is_hanging=None)
    await register(pool, "second", is_hanging=None)
    # Accepting, by the API and by the console; several recipients, several tenants in one flush.
    await queue.add(tenant, count=3, to=["a@r.test", "b@r.test"])
    await queue.add(other_tenant)
    assert await _agree(queue, tenant, other_tenant) == 4
    # Recording: attempts that fail, recipients that are given up.
    await let_fail(queue, tenant, other_tenant, b="accepted")
    # A person requeues; that is the console's login.
    assert (await Person(queue, tenant).requeue_all()).recipients == 3
    # A program cancels; that is the API's.
    later = (clock.utc_now() + hours(1)).isoformat()
    (scheduled,) = await queue.add(tenant, scheduled_at=later)
    async with queue.database.session("tp_api", tenant.id) as session:
        await cancel(session, tenant.id, "live", scheduled)
    assert {
        *("email.queued", "email.scheduled", "email.sent", "email.failed"),
        *("email.requeued", "email.canceled"),
    } <= await _types(queue, tenant)
    for name in ("ledger", "second"):
        assert await _agree(queue, tenant, other_tenant, subscriber=name) > 10


async def test_rows_that_are_copied_count_too(
    queue: Harness, pool: Pool, tenant: SeededTenant, postgres: PostgresLogins
) -> None:
    await register(pool, "ledger", is_hanging=None)
    url = with_database(postgres.superuser_url, queue.database.name)
    connection = await asyncpg.connect(url)
    try:
        await connection.copy_records_to_table(
            "events",
            columns=("tenant_id", "subject_id", "id", "mode", "type", "data"),
            records=[
                (tenant.id, new_id(), new_id(), "live", "email.sent", "{}") for _ in range(50)
            ],
        )
    finally:
        await connection.close()
    assert await _agree(queue, tenant) == 50


async def test_event_that_is_rolled_back_makes_no_delivery(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    await register(pool, "ledger", is_hanging=None)
    async with queue.database.connect("tp_deliver") as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "SELECT set_config('app.tenant_ids', $1, true)", f"{{{tenant.id}}}"
        )
        await connection.execute(INSERT, tenant.id, new_id(), new_id())
        await transaction.rollback()
        assert await deliveries_of(queue, tenant, "ledger") == []
        async with connection.transaction():
            await connection.execute(
                "SELECT set_config('app.tenant_ids', $1, true)", f"{{{tenant.id}}}"
            )
            await connection.execute(INSERT, tenant.id, new_id(), new_id())
    assert await _agree(queue, tenant) == 1


@pytest.mark.parametrize("hours_ago", [None, 25.0])
async def test_without_a_subscriber_of_the_last_day_nothing_is_kept(
    queue: Harness, pool: Pool, tenant: SeededTenant, hours_ago: float | None
) -> None:
    if hours_ago is not None:
        await register(pool, "ledger", is_hanging=None)
        await age_subscriber(queue, "ledger", hours_ago)
    await queue.add(tenant)
    assert await deliveries_of(queue, tenant, "ledger") == []
    assert len(await events_of(queue, tenant)) == 1


async def test_subscriber_that_no_worker_named_for_hours_is_still_told(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    await register(pool, "ledger", is_hanging=None)
    await age_subscriber(queue, "ledger", 23.5)
    await queue.add(tenant)
    assert await _agree(queue, tenant) == 1


async def test_event_of_a_tenant_that_is_gone_can_still_be_stored(
    queue: Harness, pool: Pool
) -> None:
    await register(pool, "ledger", is_hanging=None)
    gone = new_id()
    async with queue.database.connect("tp_deliver") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_ids', $1, true)", f"{{{gone}}}")
        await connection.execute(INSERT, gone, new_id(), new_id())
    async with queue.database.session("tp_cli", gone) as session:
        (state,) = await administration.list_subscribers_all_tenants(session)
    assert (state.name, state.waiting) == ("ledger", 1)


@pytest.mark.parametrize("role", ["tp_api", "tp_accept", "tp_deliver", "tp_console", "tp_cli"])
async def test_who_stores_events_can_neither_see_nor_change_deliveries(
    queue: Harness, tenant: SeededTenant, role: str
) -> None:
    async with queue.database.connect(role) as connection:
        for statement in (
            "SELECT count(*) FROM event_deliveries",
            "DELETE FROM event_deliveries",
            "UPDATE event_subscribers SET seen_at = now()",
            "INSERT INTO event_deliveries (tenant_id, subscriber, subject_id, event_id) "
            "VALUES (gen_random_uuid(), 'ledger', gen_random_uuid(), gen_random_uuid())",
            "SELECT list_due_event_deliveries('ledger', 1)",
            "SELECT count_event_deliveries('ledger', 1)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


@pytest.mark.parametrize(
    "role",
    ["tp_api", "tp_accept", "tp_deliver", "tp_worker", "tp_console", "tp_inbox", "tp_billing"],
)
async def test_nobody_but_the_command_line_lists_retries_or_forgets_over_all_tenants(
    queue: Harness, role: str
) -> None:
    async with queue.database.connect(role) as connection:
        for statement in (
            "SELECT list_event_subscribers(1)",
            "SELECT retry_dead_event_deliveries('ledger', 1)",
            "SELECT forget_event_subscriber('ledger', 1)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                await connection.execute(statement)


async def test_worker_makes_no_delivery_of_its_own(queue: Harness, tenant: SeededTenant) -> None:
    async with queue.database.connect("tp_worker") as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('app.tenant_ids', $1, true)", f"{{{tenant.id}}}"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await connection.execute(
                "INSERT INTO event_deliveries (tenant_id, subscriber, subject_id, event_id) "
                "VALUES ($1, 'ledger', $2, $3)",
                *(tenant.id, new_id(), new_id()),
            )
