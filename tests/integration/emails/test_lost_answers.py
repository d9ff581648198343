"""The database goes away while emails are accepted: nothing is doubled, and nothing lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from tallypost_core.object_store import FolderStore
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.db.pools import create_pool
from tallypost_domain.emails.accept import DEFAULT_LIMITS, Acceptor
from tallypost_domain.emails.types import Acceptance
from tallypost_domain.suppressions.service import suppress
from tests.integration.database.test_notifications import proxy_to, running
from tests.integration.emails.test_group_commit import bad_email, key, stored, warm_up
from tests.integration.queue.harness import Harness, open_harness
from tests.support.database import PEPPERS, Database, SeededTenant
from tests.support.emails import live_sender, new_email
from tests.support.tcp_proxy import TCPProxy

LARGE = [{"filename": "a.bin", "content": [7] * 300_000}]


@asynccontextmanager
async def acceptor_by(database: Database, folder: Path) -> AsyncIterator[tuple[Acceptor, TCPProxy]]:
    """An acceptor that writes by way of a wire and looks up directly.

    What it has looked up it remembers, so that nothing but emails goes over the wire.
    """
    url = database.url("tp_accept")
    async with (
        proxy_to(url) as wire,
        database.sessions("tp_api") as sessions,
        running(database.url("tp_api")) as (feed, _),
    ):
        pool = await create_pool(wire.url(url), size=DEFAULT_LIMITS.connections, app="test")
        accept = Acceptor(pool, sessions, FolderStore(folder), PEPPERS, feed=feed)
        yield accept, wire
        await accept.close()
        pool.terminate()


async def until_stored(queue: Harness, tenant: SeededTenant, count: int) -> None:
    """Return once a tenant has so many emails; fails after a time that only bounds a hang."""
    async with asyncio.timeout(60):
        while await stored(queue, tenant) < count:  # noqa: ASYNC110 - another connection.
            await asyncio.sleep(0.01)


def files(folder: Path) -> list[Path]:
    """What the object store holds."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def set_quota(database: Database, tenant: SeededTenant, quota: int) -> None:
    """Give a tenant a monthly quota."""
    async with database.connect("tp_cli") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        await connection.execute("UPDATE tenants SET monthly_quota = $1", quota)


async def spent(queue: Harness, tenant: SeededTenant) -> int:
    """Units that leases of a tenant have spent."""
    (row,) = await queue.fetch(tenant, "SELECT sum(spent) AS spent FROM quota_leases")
    return int(row["spent"])


@pytest.mark.parametrize("is_usual", [True, False])
async def test_commit_that_gets_no_answer_is_found_to_have_happened(
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    is_usual: bool,
) -> None:
    await set_quota(database, tenant, 1000)
    if not is_usual:
        # Then what is stored is decided step by step.
        async with database.session("tp_cli", tenant.id) as session:
            await suppress(
                session, tenant.id, "live", "gone@recipient.test", origin="bounce", peppers=PEPPERS
            )
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor_by(database, tmp_path) as (accept, wire),
    ):
        for owner in (tenant, other_tenant):
            await warm_up(accept, owner)
        wire.pause("answers")
        requests = [
            asyncio.create_task(request)
            for request in (
                accept.accept(live_sender(tenant), new_email(), key()),
                accept.accept(
                    live_sender(tenant), new_email(to=["gone@recipient.test", "b@r.test"])
                ),
                accept.accept_batch(live_sender(tenant), [new_email()] * 3, strict=True),
                accept.accept(live_sender(other_tenant), new_email(from_="hello@example.org")),
            )
        ]
        if is_usual:
            await until_stored(queue, tenant, 6)
        else:
            # Each step waits for its answer; the last one is that of the commit.
            while await stored(queue, tenant) < 6:
                wire.resume("answers")
                await asyncio.sleep(0)
                wire.pause("answers")
        wire.cut()
        wire.mend()
        outcomes = await asyncio.gather(*requests)
        assert [len(outcome.ids) for outcome in outcomes] == [1, 1, 3, 1]
        ids = {id_ for outcome in outcomes for id_ in outcome.ids}
        for owner, count in ((tenant, 6), (other_tenant, 2)):
            rows = await queue.fetch(owner, "SELECT email_id FROM send_queue")
            assert len(rows) == count
            ids -= {row["email_id"] for row in rows}
        assert ids == set()
        assert await spent(queue, tenant) == 7 if is_usual else 6


async def test_repeat_after_a_commit_of_unknown_fate_gets_the_first_answer(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor_by(database, tmp_path) as (accept, wire),
    ):
        await warm_up(accept, tenant)
        wire.pause("answers")
        first = asyncio.create_task(accept.accept(live_sender(tenant), new_email(), key()))
        await until_stored(queue, tenant, 2)
        wire.cut()
        with pytest.raises(DatabaseUnavailable):
            await first
        wire.mend()
        (email_id,) = (await accept.accept(live_sender(tenant), new_email(), key())).ids
        assert await stored(queue, tenant) == 2
        assert await queue.fetch(tenant, "SELECT 1 FROM emails WHERE id = $1", email_id)


async def test_objects_stay_where_nobody_knows_whether_their_email_is_stored(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor_by(database, tmp_path) as (accept, wire),
    ):
        await warm_up(accept, tenant)
        wire.pause("answers")
        large = new_email(attachments=LARGE)
        request = asyncio.create_task(accept.accept(live_sender(tenant), large))
        await until_stored(queue, tenant, 2)
        wire.cut()
        with pytest.raises(DatabaseUnavailable):
            await request
        assert len(files(tmp_path)) == 1


async def test_outage_refuses_everybody_stores_nothing_and_ends_by_itself(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor_by(database, tmp_path) as (accept, wire),
    ):
        await warm_up(accept, tenant)
        wire.cut()
        outcomes = await asyncio.gather(
            *(accept.accept(live_sender(tenant), new_email(), key(f"{n}")) for n in range(20)),
            *(accept.accept(live_sender(tenant), new_email()) for _ in range(20)),
            accept.accept(live_sender(tenant), new_email(attachments=LARGE)),
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
        assert await stored(queue, tenant) == 1
        assert files(tmp_path) == []
        wire.mend()
        answers = await asyncio.gather(
            *(accept.accept(live_sender(tenant), new_email(), key(f"{n}")) for n in range(20))
        )
        assert {type(answer) for answer in answers} == {Acceptance}
        assert await stored(queue, tenant) == 21


async def test_connection_that_breaks_before_the_commit_costs_no_request(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor_by(database, tmp_path) as (accept, _),
        database.connect("tp_accept") as connection,
    ):
        await warm_up(accept, tenant)
        # As when a server ends idle connections: each of the pool's is broken.
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE usename = 'tp_accept' AND pid <> pg_backend_pid()"
        )
        answers = await asyncio.gather(
            *(accept.accept(live_sender(tenant), new_email()) for _ in range(5))
        )
        assert len({answer.ids for answer in answers}) == 5
        assert await stored(queue, tenant) == 6


async def test_objects_of_a_request_that_cannot_be_stored_are_removed(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    attachments = new_email(attachments=LARGE).attachments
    bad = msgspec.structs.replace(bad_email(), attachments=attachments)
    async with (
        open_harness(database, tmp_path) as queue,
        acceptor_by(database, tmp_path) as (accept, _),
    ):
        with pytest.raises(Exception, match="invalid byte sequence"):
            await accept.accept(live_sender(tenant), bad)
        assert files(tmp_path) == []
        assert await stored(queue, tenant) == 0


async def test_repeat_puts_and_fetches_no_object_again(
    database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    put: list[str] = []

    class CountingStore(FolderStore):
        async def put(self, key: str, body: bytes) -> None:
            put.append(key)
            await super().put(key, body)

    async with (
        database.pool("tp_accept") as pool,
        database.sessions("tp_api") as sessions,
    ):
        accept = Acceptor(pool, sessions, CountingStore(tmp_path), PEPPERS)
        request = new_email(attachments=LARGE)
        first = await accept.accept(live_sender(tenant), request, key())
        again = await accept.accept(live_sender(tenant), request, key())
        assert first == again
        assert len(put) == 1
