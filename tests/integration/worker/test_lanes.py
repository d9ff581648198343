"""What a worker claims: lanes that shut nobody out, rows taken away, rows that cannot be read."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import asyncpg
import pytest

from tallypost_core.object_store import FolderStore
from tallypost_domain.db.pools import transaction
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.claims import LEASE_S
from tallypost_providers.errors import ProviderBusy
from tallypost_providers.types import Outcome, OutgoingEmail, SendResult
from tallypost_telemetry import metrics
from tallypost_worker.heartbeat import Heartbeat
from tallypost_worker.lane_claims import LaneClaims
from tallypost_worker.ready_emails import ReadyEmails
from tallypost_worker.wakeups import DueTenants
from tests.integration.queue.harness import Harness
from tests.integration.worker.loops import FakeProvider, running_loop, says, until
from tests.support.backends import PostgresLogins
from tests.support.database import PEPPERS, SeededTenant, with_database
from tests.support.worker import eventually


def _busy_count() -> float:
    labels = {"provider": FakeProvider.name}
    return metrics.REGISTRY.get_sample_value("tallypost_provider_busy_total", labels) or 0.0


@pytest.mark.parametrize("concurrency", [2, 5])
async def test_single_email_is_claimed_at_once_while_bulk_mail_blocks_the_worker(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    concurrency: int,
) -> None:
    await queue.add_bulk(tenant, 30)
    provider = FakeProvider()
    # Nothing that was handed over ends, so no place becomes free.
    provider.gate.clear()
    url = queue.database.url("tp_deliver")
    async with running_loop(url, provider, FolderStore(tmp_path), concurrency=concurrency):
        most_bulk = max(1, int(concurrency * 0.8))
        await eventually(lambda: len(provider.handovers) == most_bulk)
        (email_id,) = await queue.add(other_tenant)
        await eventually(lambda: email_id in {email.email_id for email in provider.handovers})
        assert len(provider.handovers) == most_bulk + 1
        provider.gate.set()


async def test_rows_that_were_taken_away_and_claimed_again_are_in_work_twice(
    queue: Harness, tenant: SeededTenant
) -> None:
    first, second, *_ = await queue.add(tenant, 6)
    ready, due, stop = ReadyEmails(concurrency=2), DueTenants(queue.pool, ""), asyncio.Event()
    lane = LaneClaims(
        Lane.TRANSACTIONAL,
        queue.pool,
        await queue.start_worker(),
        PEPPERS,
        heartbeat=cast("Heartbeat", SimpleNamespace(remaining_s=LEASE_S)),
        due=due,
        ready=ready,
        room=4,
    )
    claiming = asyncio.create_task(lane.run(stop))
    due.note(Lane.TRANSACTIONAL, [tenant.id])
    taken = [await ready.take() for _ in range(4)]
    stale = [email for email in taken if email.claim.email_id in (first, second)]
    # As a sweep does whose worker seemed dead.
    async with transaction(queue.pool, [tenant.id]) as connection:
        await connection.execute(
            "UPDATE send_queue SET state = 'waiting', worker_id = NULL WHERE email_id = ANY ($1)",
            [first, second],
        )
    for email in taken:
        if email not in stale:
            lane.done(email, is_unsent=False)
    again = [await ready.take() for _ in range(2)]
    assert [email.claim.email_id for email in again] == [email.claim.email_id for email in stale]
    assert [email.claim.fence for email in (*stale, *again)] == [1, 1, 2, 2]
    for email in (*stale, *again):
        lane.done(email, is_unsent=True)
    stop.set()
    due.wake(Lane.TRANSACTIONAL)
    await claiming
    await lane.return_unsent()
    rows = await queue.fetch(
        tenant,
        "SELECT state FROM send_queue WHERE email_id = $1 OR email_id = $2",
        first,
        second,
    )
    assert [row["state"] for row in rows] == ["waiting", "waiting"]


async def test_row_that_cannot_be_read_waits_and_stops_no_other(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    postgres: PostgresLogins,
    tmp_path: Path,
) -> None:
    bad, *good = await queue.add(tenant, 4)
    (of_other,) = await queue.add(other_tenant)
    superuser = await asyncpg.connect(with_database(postgres.superuser_url, queue.database.name))
    try:
        await superuser.execute("UPDATE emails SET tags = '\"no list\"' WHERE id = $1", bad)
    finally:
        await superuser.close()
    provider = FakeProvider()
    url = queue.database.url("tp_deliver")
    async with running_loop(url, provider, FolderStore(tmp_path)):
        await eventually(lambda: len(provider.handovers) == 4)

        async def waits() -> bool:
            return await queue.state(tenant, bad) == "waiting"

        await until(waits)
        (row,) = await queue.fetch(
            tenant,
            "SELECT due_at > now() + interval '50 minutes' AS waits_long, attempt FROM send_queue "
            "WHERE email_id = $1",
            bad,
        )
        assert (row["waits_long"], row["attempt"]) == (True, 0)
    assert {email.email_id for email in provider.handovers} == {*good, of_other}


async def test_busy_provider_costs_an_email_no_attempt(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    def is_busy(email: OutgoingEmail) -> SendResult:
        raise ProviderBusy

    provider = FakeProvider(is_busy, is_busy, says(Outcome.ACCEPTED))

    async def is_done() -> bool:
        return not await queue.fetch(tenant, "SELECT 1 FROM send_queue")

    before = _busy_count()
    url = queue.database.url("tp_deliver")
    async with running_loop(url, provider, FolderStore(tmp_path)):
        (email_id,) = await queue.add(tenant)
        await until(is_done)
    assert len(provider.handovers) == 3
    assert await queue.attempts(tenant, email_id) == [(1, "accepted", False)]
    assert await queue.events(tenant, email_id) == ["email.sent"]
    assert _busy_count() - before == 2
