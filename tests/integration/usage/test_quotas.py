"""Quotas: what is granted is used up to the last unit, and never one more."""

import asyncio
import math
from pathlib import Path

import asyncpg
import pytest

from tallypost_domain.db.pools import transaction
from tallypost_domain.emails.accept import Acceptor
from tallypost_domain.emails.types import Acceptance, Idempotency
from tallypost_domain.suppressions.service import suppress
from tallypost_domain.usage.errors import QuotaExceeded
from tallypost_domain.usage.quotas import LARGEST_BLOCK, Lease, Quotas, spend
from tests.integration.emails import races
from tests.integration.emails.test_group_commit import bad_email
from tests.integration.queue.harness import Harness, open_harness
from tests.support.backends import PostgresLogins
from tests.support.database import PEPPERS, Database, SeededTenant, with_database
from tests.support.emails import acceptor, live_sender, new_email, sandbox_sender


async def set_quota(database: Database, tenant: SeededTenant, quota: int | None) -> None:
    """Give a tenant a monthly quota, or take it away."""
    async with database.connect("tp_cli") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        await connection.execute("UPDATE tenants SET monthly_quota = $1", quota)


async def recipients(queue: Harness, tenant: SeededTenant) -> int:
    """Recipients that a tenant's accepted emails have."""
    return len(await queue.fetch(tenant, "SELECT 1 FROM recipients"))


async def granted(queue: Harness, tenant: SeededTenant) -> int:
    """Units that are spent or stand in a lease; at most what leases and recipients add up to."""
    (row,) = await queue.fetch(tenant, "SELECT sum(granted)::bigint AS units FROM quota_counters")
    return row["units"] or 0


async def send(accept: Acceptor, tenant: SeededTenant, count: int = 1) -> Acceptance:
    """Accept one live email to so many recipients."""
    to = [f"r{number}@recipient.test" for number in range(count)]
    return await accept.accept(live_sender(tenant), new_email(from_=f"a@{tenant.domain}", to=to))


async def test_tenant_without_a_quota_leaves_no_trace_of_one(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        await send(accept, tenant)
        assert await queue.fetch(tenant, "SELECT 1 FROM quota_counters") == []


async def test_quota_counts_recipients_and_refuses_a_request_as_a_whole(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    await set_quota(database, tenant, 10)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        await send(accept, tenant, 8)
        with pytest.raises(QuotaExceeded) as caught:
            await send(accept, tenant, 3)
        assert 0 < (caught.value.retry_after_s or 0) <= 31 * 86_400
        # A smaller one still fits.
        await send(accept, tenant, 2)
        with pytest.raises(QuotaExceeded):
            await send(accept, tenant)
        assert await recipients(queue, tenant) == 10
        await send(accept, other_tenant, 20)


async def test_quota_of_nothing_refuses_everything(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await set_quota(database, tenant, 0)
    async with acceptor(database, tmp_path) as accept:
        with pytest.raises(QuotaExceeded):
            await send(accept, tenant)


async def test_test_mode_is_not_metered(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await set_quota(database, tenant, 0)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        assert await accept.accept(sandbox_sender(tenant), new_email())
        assert await queue.fetch(tenant, "SELECT 1 FROM quota_counters") == []


async def test_repeats_and_what_is_refused_or_fails_spend_nothing(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await set_quota(database, tenant, 3)
    key = Idempotency("POST /emails", "order-17", b"a" * 32)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        first = await accept.accept(live_sender(tenant), new_email(), key)
        for _ in range(5):
            assert await accept.accept(live_sender(tenant), new_email(), key) == first
            with pytest.raises(Exception, match="invalid byte sequence"):
                await accept.accept(live_sender(tenant), bad_email())
        await asyncio.gather(
            *(accept.accept(live_sender(tenant), new_email(), key) for _ in range(5))
        )
        await send(accept, tenant, 2)
        with pytest.raises(QuotaExceeded):
            await send(accept, tenant)
        # The answer to a repeat costs nothing, so it is given after the last unit too.
        assert await accept.accept(live_sender(tenant), new_email(), key) == first
        assert await recipients(queue, tenant) == 3


async def test_suppressed_recipients_are_not_counted(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await set_quota(database, tenant, 3)
    async with database.session("tp_cli", tenant.id) as session:
        await suppress(
            session, tenant.id, "live", "r0@recipient.test", origin="bounce", peppers=PEPPERS
        )
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        await send(accept, tenant, 3)
        await send(accept, tenant, 1)
        (row,) = await queue.fetch(tenant, "SELECT sum(spent)::int AS spent FROM quota_leases")
        assert row["spent"] == 2


async def test_permissive_batch_that_does_not_fit_is_refused_as_a_whole(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await set_quota(database, tenant, 3)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        for strict in (True, False):
            with pytest.raises(QuotaExceeded):
                await accept.accept_batch(live_sender(tenant), [new_email()] * 4, strict=strict)
        await accept.accept_batch(live_sender(tenant), [new_email()] * 3, strict=False)
        assert await recipients(queue, tenant) == 3


async def test_units_that_a_process_holds_go_to_whoever_needs_them(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await set_quota(database, tenant, 50)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as first,
        acceptor(database, tmp_path) as second,
    ):
        await send(first, tenant)
        leases = await queue.fetch(tenant, "SELECT units, spent FROM quota_leases")
        assert [(row["units"] > row["spent"]) for row in leases] == [True]
        for _ in range(49):
            await send(second, tenant)
        for accept in (first, second):
            with pytest.raises(QuotaExceeded):
                await send(accept, tenant)
        assert await recipients(queue, tenant) == 50
        assert await granted(queue, tenant) == 50


async def test_what_a_dead_process_left_is_given_back(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    quota = 40 * LARGEST_BLOCK
    await set_quota(database, tenant, quota)
    await set_quota(database, other_tenant, 5)
    async with database.pool("tp_accept") as pool, open_harness(database, tmp_path) as queue:
        # It dies with a block of which it has spent nothing.
        await Quotas(pool).reserve(tenant.id, 1)
        assert await granted(queue, tenant) == LARGEST_BLOCK
        async with database.connect("tp_accept") as connection, connection.transaction():
            await connection.execute(
                "SELECT set_config('app.tenant_ids', $1, true)", f"{{{tenant.id}}}"
            )
            await connection.execute("UPDATE quota_leases SET used_at = now() - interval '1 hour'")
        async with acceptor(database, tmp_path) as accept:
            await send(accept, tenant)
            await send(accept, other_tenant, 5)
        rows = await queue.fetch(tenant, "SELECT units, spent FROM quota_leases")
        assert [tuple(row) for row in rows] == [(LARGEST_BLOCK, 1)]
        assert await granted(queue, tenant) == LARGEST_BLOCK


async def test_lease_of_a_month_that_is_over_is_spent_no_more(
    database: Database, tenant: SeededTenant, tmp_path: Path, postgres: PostgresLogins
) -> None:
    await set_quota(database, tenant, 10)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
        database.pool("tp_accept") as pool,
    ):
        await send(accept, tenant, 4)
        await end_month(with_database(postgres.superuser_url, database.name))
        (row,) = await queue.fetch(tenant, "SELECT * FROM quota_leases")
        over = Lease(tenant.id, row["period"], row["id"], ends_at_s=math.inf)
        async with transaction(pool, [tenant.id]) as connection:
            assert await spend(connection, {over: 1}) == [over]
        # The whole of the new month is there, whatever the process still remembers.
        await send(accept, tenant, 10)
        with pytest.raises(QuotaExceeded):
            await send(accept, tenant)
        assert await recipients(queue, tenant) == 14


async def end_month(superuser_url: str) -> None:
    """Let everything that was granted lie a month back."""
    connection = await asyncpg.connect(superuser_url)
    try:
        async with connection.transaction():
            # Neither of the two tables may point to the other's old month meanwhile.
            await connection.execute("SET LOCAL session_replication_role = replica")
            for table in ("quota_counters", "quota_leases"):
                await connection.execute(
                    f"UPDATE {table} SET period = (period - interval '1 month')::date"  # noqa: S608 - names of this file
                )
    finally:
        await connection.close()


async def test_quota_that_is_raised_or_taken_away_lets_mail_pass_again(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    await set_quota(database, tenant, 1)
    async with acceptor(database, tmp_path) as accept:
        await send(accept, tenant)
        for quota in (2, None):
            with pytest.raises(QuotaExceeded):
                await send(accept, tenant)
            await set_quota(database, tenant, quota)
            # A refusal is remembered for a second.
            async with asyncio.timeout(60):
                while True:
                    try:
                        await send(accept, tenant)
                    except QuotaExceeded:
                        await asyncio.sleep(0.05)
                    else:
                        break


async def test_race_of_four_processes_accepts_exactly_the_quota(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    quota, processes = 130, 4
    await set_quota(database, tenant, quota)
    keys = [None] * 50
    answers: list[tuple[str, str]] = []
    with races.racing(
        database, tmp_path, [tenant, other_tenant], keys, processes=processes
    ) as racers:
        for racer in racers:
            answers += (await asyncio.to_thread(racer.answers)).items()
    refused = [name for name, answer in answers if answer == QuotaExceeded.code]
    assert len(refused) == processes * len(keys) - quota
    assert all(name.startswith(str(tenant.id)) for name in refused)
    async with open_harness(database, tmp_path) as queue:
        assert await recipients(queue, tenant) == quota
        assert await recipients(queue, other_tenant) == processes * len(keys)
        assert await granted(queue, tenant) == quota


async def test_process_that_is_killed_in_the_race_takes_no_unit_with_it(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    quota = 300
    await set_quota(database, tenant, quota)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor(database, tmp_path) as accept,
    ):
        with races.racing(database, tmp_path, [tenant], [None] * 400, processes=3) as racers:
            async with asyncio.timeout(120):
                while not await recipients(queue, tenant):  # noqa: ASYNC110 - other processes.
                    await asyncio.sleep(0.01)
            racers[0].kill()
            for racer in racers[1:]:
                await asyncio.to_thread(racer.answers)
        assert await recipients(queue, tenant) <= quota
        while True:
            try:
                await send(accept, tenant)
            except QuotaExceeded:
                break
        assert await recipients(queue, tenant) == quota
