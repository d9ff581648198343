"""A worker dies with events under way: which event ended it shows, and no other pays for it."""

from uuid import UUID

import pytest

from tallypost_domain.db.pools import Pool
from tallypost_domain.subscribers import administration
from tallypost_domain.subscribers.feeding import claim_events, claim_lost_event, register
from tallypost_domain.subscribers.types import WORKER_LOST
from tests.integration.queue.harness import Harness
from tests.integration.subscribers import stage
from tests.integration.subscribers.rows import make_due, rows_of
from tests.integration.subscribers.stage import PATIENT, SHORT_S, fed, module_of, states
from tests.integration.worker.loops import until
from tests.support.database import SeededTenant
from tests.support.worker import eventually

quick = stage.quick
installed = stage.installed

ATTEMPTS = 3
"""As many as stage.QUICK has."""


async def lose_together(queue: Harness, pool: Pool, *tenants: SeededTenant) -> list[UUID]:
    """Claim all that is due as a worker that dies before anything ends; returns their ids."""
    claimed = await claim_events(pool, "ledger", 100)
    for tenant in tenants:
        await make_due(queue, tenant, "ledger")
    return [claim.key.event_id for claim in claimed.claims]


async def lose_alone(
    queue: Harness, pool: Pool, *tenants: SeededTenant, event_id: UUID | None = None
) -> UUID:
    """Claim the longest waiting one alone, again by a worker that dies; returns its id."""
    claimed = await claim_lost_event(pool, "ledger")
    (claim,) = claimed.claims
    assert event_id in (None, claim.key.event_id)
    for tenant in tenants:
        await make_due(queue, tenant, "ledger")
    return claim.key.event_id


async def test_one_that_ends_the_worker_each_time_is_given_up_and_no_other_is(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await register(pool, "ledger", is_hanging=None)
    (poison,) = await queue.add(tenant)
    await lose_together(queue, pool, tenant)
    for _ in range(ATTEMPTS):
        await lose_alone(queue, pool, tenant)
    await queue.add(tenant, count=5)
    await queue.add(other_tenant, count=5)
    async with fed(pool, "ledger"):
        ledger = await module_of("ledger")
        await eventually(lambda: len(ledger.heard) == 10)

        async def is_dead() -> bool:
            found = (await states(queue, tenant))["ledger"]
            return (found.waiting, found.dead) == (0, 1)

        await until(is_dead)
    (row,) = await rows_of(queue, tenant, "ledger")
    assert (row["subject_id"], row["last_error"]) == (poison, WORKER_LOST)
    assert row["event_id"] not in ledger.begun


async def test_all_that_were_lost_among_others_are_heard_however_often(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await register(pool, "ledger", is_hanging=None)
    await queue.add(tenant, count=3)
    await queue.add(other_tenant, count=3)
    lost = await lose_together(queue, pool, tenant, other_tenant)
    assert len(lost) == 6
    # None of them is claimed among others again.
    assert await lose_together(queue, pool) == []
    async with queue.database.connect("tp_worker") as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('app.tenant_ids', $1, true)", f"{{{tenant.id},{other_tenant.id}}}"
        )
        # As many attempts as there are had begun and failed before, or were lost in this way.
        await connection.execute("UPDATE event_deliveries SET attempt = $1", ATTEMPTS)
    async with fed(pool, "ledger"):
        ledger = await module_of("ledger")
        await eventually(lambda: len(ledger.heard) == 6)
    assert set(ledger.heard) == set(lost)


async def test_lost_event_is_under_way_while_no_other_of_any_subscriber_is(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for name in ("ledger", "second"):
        await register(pool, name, is_hanging=None)
    await queue.add(tenant, count=4)
    await queue.add(other_tenant, count=4)
    lost = await lose_together(queue, pool, tenant, other_tenant)
    # More come, and the second subscriber is told of all for the first time.
    await queue.add(tenant, count=40)
    does = {"TALLYPOST_LEDGER_WORD": "linger", "TALLYPOST_SECOND_WORD": "linger"}
    async with fed(pool, "ledger", "second", environ=does):
        ledger, second = await module_of("ledger"), await module_of("second")
        await eventually(lambda: len(ledger.heard) == len(second.heard) == 48)
    spans = [(event_id, *span) for event_id, span in ledger.spans.items()]
    alone = [span for span in spans if span[0] in lost]
    others = [(None, *span) for span in second.spans.values()]
    for event_id, began_s, ended_s in alone:
        assert not [
            other
            for other in (*spans, *others)
            if other[0] != event_id and other[1] < ended_s and began_s < other[2]
        ]
    assert len(alone) == 8


async def test_lost_event_that_hangs_holds_the_others_up_for_its_time_only(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for name in ("ledger", "second"):
        await register(pool, name, is_hanging=None)
    await queue.add(tenant)
    await lose_together(queue, pool, tenant)
    await queue.add(other_tenant)
    does = {"TALLYPOST_LEDGER_WORD": "ignore"}
    async with fed(
        pool, "ledger", "second", policy=PATIENT, environ=does, ledger_timeout_s=SHORT_S
    ):
        ledger, second = await module_of("ledger"), await module_of("second")

        async def goes_on() -> bool:
            hangs = (await states(queue, tenant))["ledger"].is_hanging
            return hangs and len(second.heard) == 2 and len(ledger.begun) == 2

        await until(goes_on)
        ledger.gate.set()


async def test_event_that_failed_by_itself_after_a_loss_is_one_among_others_again(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    await register(pool, "ledger", is_hanging=None)
    await queue.add(tenant)
    await lose_together(queue, pool, tenant)
    async with fed(pool, "ledger", policy=PATIENT, environ={"TALLYPOST_LEDGER_WORD": "raise"}):

        async def has_failed() -> bool:
            (row,) = await rows_of(queue, tenant, "ledger")
            return bool(row["last_error"] == "ValueError")

        await until(has_failed)
    await make_due(queue, tenant, "ledger")
    assert len((await claim_events(pool, "ledger", 10)).claims) == 1


@pytest.mark.parametrize("losses", [0, 1])
async def test_event_that_is_given_back_keeps_what_is_known_of_it(
    queue: Harness, pool: Pool, tenant: SeededTenant, losses: int
) -> None:
    await register(pool, "ledger", is_hanging=None)
    await queue.add(tenant)
    await lose_together(queue, pool, tenant)
    for _ in range(losses):
        await lose_alone(queue, pool, tenant)
    (before,) = await rows_of(queue, tenant, "ledger")
    async with fed(pool, "ledger", policy=PATIENT, environ={"TALLYPOST_LEDGER_WORD": "wait"}):
        ledger = await module_of("ledger")
        await eventually(lambda: ledger.begun)
    (row,) = await rows_of(queue, tenant, "ledger")
    for column in ("attempt", "under_way", "last_error"):
        assert row[column] == before[column]


async def test_event_that_is_retried_has_all_its_attempts_again(
    queue: Harness, pool: Pool, tenant: SeededTenant
) -> None:
    await register(pool, "ledger", is_hanging=None)
    await queue.add(tenant)
    await lose_together(queue, pool, tenant)
    for _ in range(ATTEMPTS):
        await lose_alone(queue, pool, tenant)
    async with fed(pool, "ledger"):

        async def is_dead() -> bool:
            return (await states(queue, tenant))["ledger"].dead == 1

        await until(is_dead)
        async with queue.database.session("tp_cli", tenant.id) as session:
            assert await administration.retry_dead_all_tenants(session, "ledger") == 1
        ledger = await module_of("ledger")
        await eventually(lambda: len(ledger.heard) == 1)
