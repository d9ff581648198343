"""What workers hand over is counted for people who watch, and never at a delivery's cost."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tallypost_core.ids import new_id
from tallypost_core.object_store import FolderStore
from tallypost_domain.db.pools import Pool
from tallypost_domain.db.sessions import system_session
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.overview import (
    PlatformNumbers,
    SampleBucket,
    list_samples,
    measure_platform,
)
from tallypost_domain.queue.releases import release_held
from tallypost_providers.types import Outcome
from tallypost_worker import chores, delivery_samples
from tallypost_worker.settlements import unsent
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import Person, let_fail
from tests.integration.worker.loops import FakeProvider, Running, running_loop, says, until
from tests.support.database import Database, SeededTenant


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write more often than once a second."""
    monkeypatch.setattr(delivery_samples, "WRITE_EVERY_S", 0.05)


async def overview(database: Database) -> PlatformNumbers:
    """The numbers as the console reads them."""
    async with database.sessions("tp_console") as makers, system_session(makers) as session:
        return await measure_platform(session)


async def series(database: Database) -> tuple[SampleBucket, ...]:
    """The course of the last five minutes."""
    async with database.sessions("tp_console") as makers, system_session(makers) as session:
        return await list_samples(session)


@asynccontextmanager
async def writing(running: Running, pool: Pool) -> AsyncIterator[None]:
    """Write what the loop gathers, for as long as the block lasts."""
    task = asyncio.create_task(running.samples.run(pool))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_outcomes_of_all_tenants_are_summed_by_provider(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    await queue.add(tenant, 2, to=["a@r.test", "b@r.test"])
    await queue.add(other_tenant)
    provider = FakeProvider(says(Outcome.DEFERRED), says(Outcome.ACCEPTED))

    async def is_counted() -> bool:
        found = (await overview(queue.database)).providers
        return bool(found) and found[0].outcomes[Outcome.ACCEPTED] == 5

    url = queue.database.url("tp_deliver")
    async with (
        queue.database.pool("tp_worker") as pool,
        running_loop(url, provider, FolderStore(tmp_path)) as running,
        writing(running, pool),
    ):
        await until(is_counted)
    numbers = await overview(queue.database)
    (fake,) = numbers.providers
    assert fake.name == "fake"
    assert fake.outcomes[Outcome.DEFERRED] in (1, 2)
    assert numbers.send_rate_per_s == 5 / 60
    assert numbers.p95_s is not None
    assert numbers.p95_s > 0
    found = await series(queue.database)
    assert sum(bucket.outcomes[Outcome.ACCEPTED] for bucket in found) == 5
    assert all(bucket.at.timestamp() % 5 == 0 for bucket in found)


async def _hold_for_a_while(queue: Harness, tenant: SeededTenant) -> None:
    """Take what the tenant has due while it is suspended, and release it after that."""
    worker = await queue.start_worker()
    for status in ("suspended", "active"):
        async with queue.database.connect("tp_cli") as connection, connection.transaction():
            await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
            await connection.execute("UPDATE tenants SET status = $1", status)
        for email in await queue.load(*await queue.claim(worker, tenant)):
            await queue.record(worker, unsent(email, worker))
    assert await release_held(queue.pool) == 1


async def test_age_is_counted_of_first_handovers_that_were_due_at_once(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    # Each has to wait for something that says nothing about our speed.
    await queue.add(tenant)
    await let_fail(queue, tenant)
    await Person(queue, tenant).requeue_all()
    (scheduled,) = await queue.add(tenant, scheduled_at="in 1 hour")
    await queue.make_due(tenant, scheduled)
    await queue.add(other_tenant)
    await _hold_for_a_while(queue, other_tenant)
    provider = FakeProvider()

    async def is_counted() -> bool:
        found = (await overview(queue.database)).providers
        return bool(found) and found[0].outcomes[Outcome.ACCEPTED] == 3

    url = queue.database.url("tp_deliver")
    async with (
        queue.database.pool("tp_worker") as pool,
        running_loop(url, provider, FolderStore(tmp_path)) as running,
        writing(running, pool),
    ):
        await until(is_counted)
    assert (await overview(queue.database)).p95_s is None


async def test_database_that_takes_no_sample_costs_samples_and_no_delivery(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    owner = await asyncpg.connect(queue.database.owner_url)
    provider = FakeProvider()
    url = queue.database.url("tp_deliver")

    async def is_sent() -> bool:
        return not await queue.fetch(tenant, "SELECT 1 FROM send_queue")

    async def is_counted() -> bool:
        return bool((await overview(queue.database)).providers)

    try:
        async with (
            queue.database.pool("tp_worker") as pool,
            running_loop(url, provider, FolderStore(tmp_path)) as running,
            writing(running, pool),
        ):
            await owner.execute("REVOKE INSERT ON delivery_samples FROM tp_worker")
            await queue.add(tenant)
            await until(is_sent)
            await owner.execute("GRANT INSERT ON delivery_samples TO tp_worker")
            await queue.add(tenant, 2)
            await until(is_counted)
    finally:
        await owner.execute("GRANT INSERT ON delivery_samples TO tp_worker")
        await owner.close()
    assert len(provider.handovers) == 3


async def test_overview_counts_all_tenants_queues_and_workers(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    idle = await overview(queue.database)
    assert [depth.due_count for depth in idle.lanes.values()] == [0, 0]
    assert (idle.workers, idle.providers, idle.p95_s) == ((), (), None)
    await queue.add(tenant)
    await let_fail(queue, tenant)
    for owner in (tenant, other_tenant):
        await queue.add(owner, 2)
        await queue.add_bulk(owner)
    worker = await queue.start_worker()
    dead = await queue.start_worker()
    await queue.age_beat(dead, 60)
    claims = await queue.claim(worker, tenant)
    await queue.mark(worker, claims[0])
    numbers = await overview(queue.database)
    assert (numbers.states.waiting, numbers.states.claimed) == (4, 1)
    assert (numbers.states.handing_over, numbers.states.held) == (1, 0)
    assert numbers.dead_letters == 1
    assert {lane: depth.due_count for lane, depth in numbers.lanes.items()} == {
        Lane.TRANSACTIONAL: 2,
        Lane.BULK: 2,
    }
    alive = {beat.id: beat.is_alive for beat in numbers.workers}
    assert (alive[worker], alive[dead]) == (True, False)


async def test_samples_are_forgotten_after_an_hour(
    queue: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "_CHUNK", 2)
    now = dt.datetime.now(dt.UTC)
    statement = "INSERT INTO delivery_samples VALUES ($1, $2, 'smtp', 1, 0, 0, 0, 0, 0, 0, '{}')"
    async with queue.database.pool("tp_worker") as pool:
        for minutes in (1, 59, 61, 62, 63):
            await pool.execute(statement, now - dt.timedelta(minutes=minutes), new_id())
        for _ in range(2):
            await chores.delete_old_delivery_samples({"pool": pool})
            assert await pool.fetchval("SELECT count(at) FROM delivery_samples") == 2
