"""What searching and counting read where a tenant has a million emails: little, by indexes only.

Every question is asked so often on one connection that its statements get the plans that they keep.
Durations are logged and not judged.
"""

import asyncio
import datetime as dt
import logging
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core import clock
from tallypost_domain.db import sessions
from tallypost_domain.emails.outcomes import MOST_CHECKED, count_outcomes, measure_handover
from tallypost_domain.emails.search import MOST_LOOKED_UP, MOST_SCANNED, find_emails
from tallypost_domain.emails.search_terms import parse_search
from tallypost_providers.types import Mode
from tests.support.backends import PostgresLogins
from tests.support.database import Database, SeededTenant, seed_tenant, with_database
from tests.support.large_mailbox import BUSY_ADDRESS, Mailbox, fill_mailbox

pytestmark = pytest.mark.slow

_COUNT = 1_000_000
_AGE = dt.timedelta(days=7)
# More often than a connection plans a statement anew for its values, which is five times.
_TIMES = 9
_PAGE = 50

# Entries of indexes, rows that were found by them, and rows of sequential scans.
_READ = """
    SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)::bigint AS entries,
           sum(idx_tup_fetch)::bigint AS rows, sum(seq_tup_read)::bigint AS walked
    FROM pg_stat_user_tables
    WHERE relname ~ '^(emails|recipients|events|attempts)_w' OR relname = 'send_queue'
"""

log = logging.getLogger(__name__)

Ask = Callable[[AsyncSession], Awaitable[object]]


class Large(Struct, frozen=True):
    """A database with one large tenant and a small one."""

    database: Database
    tenant: SeededTenant
    other_tenant: SeededTenant
    until: dt.datetime


class Reads(Struct, frozen=True):
    """What one question made the server read."""

    entries: int
    rows: int
    walked: int

    def since(self, before: "Reads") -> "Reads":
        """What was read after that."""
        return Reads(
            self.entries - before.entries, self.rows - before.rows, self.walked - before.walked
        )


@pytest.fixture(scope="module")
def large(postgres: PostgresLogins, template_database: str) -> Iterator[Large]:
    """One for all tests of this module, which change nothing in it."""
    name = f"large_{secrets.token_hex(4)}"
    owner = urlsplit(postgres.owner_url).username
    _execute(
        postgres.superuser_url,
        f"CREATE DATABASE {name} TEMPLATE {template_database} OWNER {owner}",
    )
    try:
        yield asyncio.run(_fill(postgres, Database(postgres.owner_url, name)))
    finally:
        _execute(postgres.superuser_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def makers(large: Large) -> AsyncIterator[sessions.SessionMaker]:
    """Sessions of the console, one connection for all."""
    engine = sessions.create_engine(large.database.url("tp_console"), pool_size=1, app="test")
    yield sessions.create_session_maker(engine)
    await engine.dispose()


@pytest.mark.parametrize("mode", ["live", "test"])
@pytest.mark.parametrize("direction", ["newest", "after", "before"])
@pytest.mark.parametrize(
    "line",
    [
        "",
        "after:{day}",
        *(f"status:{status}" for status in ("bounced", "complained", "failed", "suppressed")),
        "status:canceled",
        "status:queued",
        "status:held",
        "status:delivery_delayed",
        "status:bounced status:scheduled",
        "status:sent",
        "status:sent nothing-like-it",
        "status:bounced nothing-like-it",
        "status:queued nothing-like-it",
        "to:reader77@example.net",
        f"to:{BUSY_ADDRESS}",
        f"to:{BUSY_ADDRESS} status:complained",
        "to:nobody@example.net",
        "from:hello@example.com",
        "from:nobody@example.com",
        "stream:bulk",
        "stream:none",
        "tag:campaign=welcome",
        "tag:campaign=none",
        "key:{key}",
        "welcome",
        "nothing-like-it",
        "before:{day} nothing-like-it",
        "before:{day} status:bounced from:hello@example.com",
    ],
)
async def test_search_reads_a_bounded_number_of_rows(
    large: Large, makers: sessions.SessionMaker, line: str, direction: str, mode: Mode
) -> None:
    middle = large.until - _AGE / 2
    wanted = parse_search(line.format(key=large.tenant.live_key.id, day=f"{middle:%Y-%m-%d}"))
    half_way = UUID(int=int(middle.timestamp() * 1000) << 80)
    after = half_way if direction == "after" else None
    before = half_way if direction == "before" else None

    async def ask(session: AsyncSession) -> object:
        return await find_emails(
            session, large.tenant.id, mode, wanted, limit=_PAGE, after=after, before=before
        )

    reads = await _ask(large, makers, f"{mode} {direction} {line}", ask)
    assert reads.walked == 0
    # The reach of a scan is measured first.
    assert reads.entries <= 2 * MOST_SCANNED + 6 * MOST_LOOKED_UP
    assert reads.rows <= MOST_SCANNED + 3 * MOST_LOOKED_UP


@pytest.mark.parametrize("mode", ["live", "test"])
@pytest.mark.parametrize("bucket", ["hour", "day"])
async def test_counting_a_week_looks_up_few_emails(
    large: Large, makers: sessions.SessionMaker, bucket: str, mode: Mode
) -> None:
    async def ask(session: AsyncSession) -> object:
        return await count_outcomes(
            session,
            large.tenant.id,
            mode,
            since=large.until - _AGE,
            until=large.until,
            bucket="hour" if bucket == "hour" else "day",
        )

    reads = await _ask(large, makers, f"{mode} outcomes by {bucket}", ask)
    assert reads.walked == 0
    assert reads.entries <= 1.2 * _COUNT
    assert reads.rows <= 3 * MOST_CHECKED


async def test_timing_handovers_looks_up_few_emails(
    large: Large, makers: sessions.SessionMaker
) -> None:
    async def ask(session: AsyncSession) -> object:
        return await measure_handover(session, large.tenant.id, "live", large.until - _AGE)

    reads = await _ask(large, makers, "handovers", ask)
    assert reads.walked == 0
    assert reads.entries <= 30_000


async def _ask(large: Large, makers: sessions.SessionMaker, name: str, ask: Ask) -> Reads:
    """Ask often; returns the most that one time has read."""
    most, times_ms = Reads(0, 0, 0), []
    before = await _read_so_far(large, makers)
    for _ in range(_TIMES):
        async with sessions.tenant_session(makers, large.tenant.id) as session:
            started_s = time.perf_counter()
            await ask(session)
            times_ms.append((time.perf_counter() - started_s) * 1000)
        now = await _read_so_far(large, makers)
        reads, before = now.since(before), now
        most = Reads(
            max(most.entries, reads.entries),
            max(most.rows, reads.rows),
            max(most.walked, reads.walked),
        )
    log.info(
        "%-70s first %6.1f  p50 %6.1f  max %6.1f ms  %s",
        name,
        times_ms[0],
        statistics.median(times_ms[1:]),
        max(times_ms[1:]),
        most,
    )
    return most


async def _read_so_far(large: Large, makers: sessions.SessionMaker) -> Reads:
    # By the connection that asks: it hands in its numbers only once in a while.
    async with sessions.tenant_session(makers, large.tenant.id) as session:
        await session.execute(text("SELECT pg_stat_force_next_flush()"))
    async with sessions.tenant_session(makers, large.tenant.id) as session:
        return Reads(*(await session.execute(text(_READ))).one())


async def _fill(postgres: PostgresLogins, database: Database) -> Large:
    async with database.sessions("tp_cli") as makers:
        tenant = await seed_tenant(makers, "Large tenant", "example.com")
        other_tenant = await seed_tenant(makers, "Small tenant", "example.org")
    until = clock.utc_now()
    connection = await asyncpg.connect(with_database(postgres.superuser_url, database.name))
    try:
        for kind, (owner, mode, count) in enumerate(
            ((tenant, "live", _COUNT), (tenant, "test", 20_000), (other_tenant, "live", 50_000))
        ):
            mailbox = Mailbox(
                tenant_id=owner.id,
                mode=mode,
                api_key_ids=(owner.live_key.id, owner.sending_key.id),
                domain_id=owner.domain_id,
                count=count,
                since=until - _AGE,
                until=until,
                kind=kind,
            )
            await fill_mailbox(connection, mailbox)
    finally:
        await connection.close()
    return Large(database, tenant, other_tenant, until)


def _execute(url: str, statement: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute())
