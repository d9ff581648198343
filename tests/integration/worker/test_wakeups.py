"""New work is heard of at once, and found within a second where a word was missed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tallypost_core import clock
from tallypost_domain.emails.types import Lane
from tallypost_worker.wakeups import DueTenants
from tests.integration.queue.harness import Harness, hours
from tests.integration.worker.link import Link
from tests.integration.worker.loops import until
from tests.support.database import SeededTenant
from tests.support.worker import eventually


@asynccontextmanager
async def _listening(queue: Harness, url: str) -> AsyncIterator[DueTenants]:
    due = DueTenants(queue.pool, url)
    stop = asyncio.Event()
    listening = asyncio.create_task(due.listen(stop))
    try:
        # The one who listens is the only one with no transaction and this statement behind it.
        async with asyncio.timeout(10):
            while not await queue.pool.fetch(  # noqa: ASYNC110 - the database's connections
                "SELECT 1 FROM pg_stat_activity WHERE usename = 'tp_deliver' "
                "AND datname = current_database() AND query = 'SELECT 1'"
            ):
                await asyncio.sleep(0.01)
        yield due
    finally:
        stop.set()
        listening.cancel()


async def test_acceptance_names_its_tenant_in_its_lane_and_only_if_it_is_due(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with _listening(queue, queue.database.url("tp_deliver")) as due:
        later = (clock.utc_now() + hours(1)).isoformat()
        await queue.add(tenant, scheduled_at=later)
        await queue.add_bulk(other_tenant)
        await asyncio.wait_for(due.wait(Lane.BULK, 600), 10)
        assert list(due.take(Lane.BULK, 9)) == [other_tenant.id]
        assert list(due.take(Lane.TRANSACTIONAL, 9)) == []
        await queue.add(tenant)
        await asyncio.wait_for(due.wait(Lane.TRANSACTIONAL, 600), 10)
        assert list(due.take(Lane.TRANSACTIONAL, 9)) == [tenant.id]


async def test_words_of_others_on_the_channel_are_passed_over(
    queue: Harness, tenant: SeededTenant
) -> None:
    async with _listening(queue, queue.database.url("tp_deliver")) as due:
        for word in ("", "bulk", "bulk nonsense", f"nolane {tenant.id}", f"{tenant.id}"):
            await queue.pool.execute("SELECT pg_notify('send_queue', $1)", word)
        await queue.pool.execute("SELECT pg_notify('send_queue', $1)", f"bulk {tenant.id}")
        await asyncio.wait_for(due.wait(Lane.BULK, 600), 10)
        assert list(due.take(Lane.BULK, 9)) == [tenant.id]
        assert list(due.take(Lane.TRANSACTIONAL, 9)) == []


async def test_broken_connection_is_made_anew(queue: Harness, tenant: SeededTenant) -> None:
    async with (
        Link(queue.database.url("tp_deliver")).running() as link,
        _listening(queue, link.url) as due,
    ):
        link.cut()
        await eventually(lambda: link.refused > 0)
        link.mend()

        async def hears() -> bool:
            await queue.pool.execute("SELECT pg_notify('send_queue', $1)", f"bulk {tenant.id}")
            return bool(due.take(Lane.BULK, 9))

        await until(hears)


async def test_refresh_finds_what_nobody_was_told_of(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add(tenant)
    await queue.add_bulk(other_tenant)
    due = DueTenants(queue.pool, "")
    refreshing = asyncio.create_task(due.refresh(asyncio.Event()))
    found: dict[Lane, set[object]] = {lane: set() for lane in Lane}

    def is_found() -> bool:
        for lane in Lane:
            found[lane] |= set(due.take(lane, 9))
        return all(found.values())

    await eventually(is_found)
    refreshing.cancel()
    assert found == {Lane.TRANSACTIONAL: {tenant.id}, Lane.BULK: {other_tenant.id}}
