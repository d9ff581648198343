"""A look for mail that may have arrived costs what one may, however long the queue is."""

from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from tallypost_domain.db.pools import transaction
from tallypost_domain.db.sessions import SessionMaker, tenant_session
from tallypost_domain.queue.unconfirmed import UnconfirmedPage, list_unconfirmed
from tests.integration.queue.harness import Harness
from tests.support.database import SeededTenant

_BACKLOG = 5_000
_LOOK = 500

# Rows without an email suffice: they only have to be passed by. They come first.
_FILL = """
    INSERT INTO send_queue (tenant_id, email_id, lane, attempt)
    SELECT $1, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'bulk', n % 2
    FROM generate_series(1, $2::integer) AS n
"""
_ROWS_READ = text("""
    SELECT ((SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
            + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables))::bigint
""")


async def _park(queue: Harness, tenant: SeededTenant) -> UUID:
    (email_id,) = await queue.add_bulk(tenant)
    worker = await queue.start_worker()
    (claim,) = await queue.hand_over(worker, tenant, lane="bulk")
    await queue.record(worker, await queue.settle(worker, claim, "ambiguous"))
    return email_id


async def test_a_page_looks_at_so_many_rows_and_says_where_the_next_one_begins(
    queue: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked = [await _park(queue, tenant) for _ in range(3)]
    async with transaction(queue.pool, [tenant.id]) as connection:
        await connection.execute(_FILL, tenant.id, _BACKLOG)
    owner = await asyncpg.connect(queue.database.owner_url)
    try:
        await owner.execute("VACUUM (ANALYZE)")
    finally:
        await owner.close()
    monkeypatch.setattr("tallypost_domain.queue.unconfirmed._LOOK", _LOOK)
    found: list[UUID] = []
    pages, after = 0, None
    # One connection, because each counts for itself.
    async with queue.database.sessions("tp_api") as sessions:
        await _look(sessions, tenant, None)
        while pages == 0 or after is not None:
            page, rows_read = await _look(sessions, tenant, after)
            found += [email.id for email in page.items]
            pages, after = pages + 1, page.after
            # Each row, and the keys by which emails were sought for those that were begun.
            assert rows_read < 3 * _LOOK
    assert found == parked
    assert pages == _BACKLOG // _LOOK + 2


async def _look(
    sessions: SessionMaker, tenant: SeededTenant, after: UUID | None
) -> tuple[UnconfirmedPage, int]:
    """A page, and how many rows and index entries were read for it."""
    async with tenant_session(sessions, tenant.id) as session:
        await session.execute(text("SELECT pg_stat_force_next_flush()"))
        before: int = (await session.execute(_ROWS_READ)).scalar_one()
    async with tenant_session(sessions, tenant.id) as session:
        page = await list_unconfirmed(session, tenant.id, "live", limit=2, after=after)
        await session.execute(text("SELECT pg_stat_force_next_flush()"))
    async with tenant_session(sessions, tenant.id) as session:
        rows_read: int = (await session.execute(_ROWS_READ)).scalar_one() - before
    return page, rows_read
