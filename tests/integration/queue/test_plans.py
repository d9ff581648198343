"""A connection lives long and keeps its plans: those made on empty tables must suit great ones."""

from uuid import UUID

import asyncpg
from msgspec.structs import replace

from tallypost_domain.queue.claims import release_claims
from tests.integration.queue.harness import Harness, rows_read
from tests.support.database import SeededTenant

_BACKLOG = 1_000


async def test_no_call_walks_a_table_that_was_empty_when_its_plan_was_made(
    queue: Harness, tenant: SeededTenant
) -> None:
    await _vacuum(queue)
    worker = await queue.start_worker()
    async with queue.database.pool("tp_deliver", size=1) as pool:
        # One connection, so that what follows meets the plans of the first round.
        deliverer = replace(queue, pool=pool)
        await _do_everything(deliverer, tenant, worker)
        for _ in range(_BACKLOG // 100):
            await queue.add(tenant, 100)
        before = await rows_read(pool)
        await _do_everything(deliverer, tenant, worker)
        assert await rows_read(pool) - before < _BACKLOG / 4


async def _do_everything(queue: Harness, tenant: SeededTenant, worker: UUID) -> None:
    """Accept, claim, mark, load, record and give back, on rows that are as expected or not."""
    await queue.add(tenant, 5)
    claims = await queue.claim(worker, tenant, quota=5)
    assert len(claims) == 5
    sent, deferred, late = await queue.mark(worker, *claims[:3])
    unsent = claims[3:]
    results = [
        await queue.settle(worker, sent, "accepted"),
        await queue.settle(worker, deferred, "deferred"),
        await queue.settle(worker, late, "accepted"),
    ]
    await queue.record(worker, *results[:2])
    await queue.record(worker, results[2], claims=unsent[:1])
    # Found recorded, and so decided anew under locks.
    await queue.record(worker, *results)
    await release_claims(queue.pool, worker, unsent)


async def _vacuum(queue: Harness) -> None:
    connection = await asyncpg.connect(queue.database.owner_url)
    try:
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()
