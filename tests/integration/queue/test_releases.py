"""Held emails go on by themselves once nothing stands in their way."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from tallypost_domain.emails.lifecycle import RecipientEvent
from tallypost_domain.queue.releases import release_held
from tallypost_domain.queue.types import RecipientChange, Settlement
from tests.integration.queue.harness import Harness, rows_read
from tests.support.database import SeededTenant

_MANY = 500
CAUSES = {
    "UPDATE tenants SET status = 'suspended'": "UPDATE tenants SET status = 'active'",
    "UPDATE domains SET status = 'failed'": "UPDATE domains SET status = 'verified'",
}


async def _change(queue: Harness, tenant: SeededTenant, statement: str) -> None:
    async with queue.database.connect("tp_cli") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        await connection.execute(statement)


async def _hold(queue: Harness, *tenants: SeededTenant) -> None:
    worker = await queue.start_worker()
    turns = []
    for email in await queue.load(*await queue.claim(worker, *tenants)):
        assert email.hold_reason is not None
        changes = tuple(
            RecipientChange(recipient_id=to.id, event=RecipientEvent.HELD)
            for to in email.recipients
        )
        turns.append(
            Settlement(
                claim=email.claim, worker_id=worker, attempt=None, changes=changes, hold=True
            )
        )
    await queue.record(worker, *turns)


@pytest.mark.parametrize("cause", CAUSES)
async def test_held_email_is_due_again_when_its_cause_is_gone(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, cause: str
) -> None:
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    (other_id,) = await queue.add(other_tenant)
    for owner in (tenant, other_tenant):
        await _change(queue, owner, cause)
    await _hold(queue, tenant, other_tenant)
    assert await release_held(queue.pool) == 0
    await _change(queue, tenant, CAUSES[cause])
    assert await release_held(queue.pool) == 1
    assert await queue.statuses(tenant, email_id) == {
        "a": "queued",
        "b": "queued",
        "email": "queued",
    }
    assert await queue.events(tenant, email_id) == ["email.held"] * 2 + ["email.released"] * 2
    assert await queue.statuses(other_tenant, other_id) == {"first": "held", "email": "held"}
    assert await queue.state(other_tenant, other_id) == "held"
    worker = await queue.start_worker()
    assert [claim.email_id for claim in await queue.claim(worker, tenant, other_tenant)] == [
        email_id
    ]
    assert await release_held(queue.pool) == 0


async def test_two_workers_release_each_email_once(queue: Harness, tenant: SeededTenant) -> None:
    added: tuple[UUID, ...] = await queue.add(tenant, 30)
    await _change(queue, tenant, "UPDATE tenants SET status = 'suspended'")
    await _hold(queue, tenant)
    await _change(queue, tenant, "UPDATE tenants SET status = 'active'")
    released = await asyncio.gather(release_held(queue.pool), release_held(queue.pool))
    assert sum(released) + await release_held(queue.pool) == len(added)
    for email_id in added:
        assert (await queue.events(tenant, email_id)).count("email.released") == 1


async def test_rows_that_have_to_wait_are_not_looked_at_one_by_one(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for owner in (tenant, other_tenant):
        for _ in range(_MANY // 100):
            await queue.add(owner, 100)
    await _change(queue, tenant, "UPDATE tenants SET status = 'suspended'")
    await _change(queue, other_tenant, "UPDATE domains SET status = 'failed'")
    for _ in range(_MANY // 100):
        await _hold(queue, tenant, other_tenant)
    # What an earlier test left in the same tables is not what plans are to be made by.
    owner = await asyncpg.connect(queue.database.owner_url)
    await owner.execute("ANALYZE tenants, domains, send_queue")
    await owner.close()
    # One connection, because each counts for itself.
    async with queue.database.pool("tp_deliver", size=1) as pool:
        before = await rows_read(pool)
        assert await release_held(pool) == 0
        assert await rows_read(pool) - before < _MANY / 10
    await _change(queue, tenant, "UPDATE tenants SET status = 'active'")
    assert await release_held(queue.pool) == 200
    still_held = "SELECT 1 FROM send_queue WHERE state = 'held'"
    assert len(await queue.fetch(tenant, still_held)) == _MANY - 200
    assert len(await queue.fetch(other_tenant, still_held)) == _MANY
