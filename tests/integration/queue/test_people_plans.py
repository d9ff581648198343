"""What people look at costs what they see, not what lies behind it."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.ids import new_id
from tallypost_domain.db.pools import transaction
from tallypost_domain.db.sessions import tenant_session
from tallypost_domain.queue.dead_letters import (
    DeadLetterFilter,
    count_dead_letters,
    list_causes,
    list_dead_letters,
)
from tallypost_domain.queue.waiting import count_queue, list_queue
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import let_fail
from tests.support.database import SeededTenant

_BACKLOG = 5_000

# Rows without an email suffice: they only have to be passed by.
_BURY = """
    INSERT INTO dead_letters (
        tenant_id, id, mode, email_id, recipient_id, cause, stream, recipient_domain
    )
    SELECT $1::uuid, gen_random_uuid(), 'test', gen_random_uuid(), gen_random_uuid(), 'usual',
           'transactional', 'usual.test'
    FROM generate_series(1, $2)
    UNION ALL
    SELECT $1::uuid, gen_random_uuid(), 'live', gen_random_uuid(), gen_random_uuid(), 'usual',
           'transactional', 'usual.test'
    FROM generate_series(1, $2)
"""
_FILL = """
    INSERT INTO send_queue (tenant_id, email_id, lane)
    SELECT $1::uuid, gen_random_uuid(), 'transactional' FROM generate_series(1, $2)
"""
_ROWS_READ = text("""
    SELECT ((SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
            + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables))::bigint
""")

Look = Callable[[AsyncSession, SeededTenant], Awaitable[object]]

_RARE = (
    DeadLetterFilter(cause="attempts_exhausted"),
    DeadLetterFilter(stream="bulk"),
    DeadLetterFilter(recipient_domain="r.test"),
    DeadLetterFilter(email_id=new_id()),
)


def _page(wanted: DeadLetterFilter) -> Look:
    return lambda s, t: list_dead_letters(s, t.id, "live", wanted, limit=10)


def _count(wanted: DeadLetterFilter) -> Look:
    return lambda s, t: count_dead_letters(s, t.id, "live", wanted)


LOOKS: dict[str, Look] = {
    "page": lambda s, t: list_dead_letters(s, t.id, "live", limit=10),
    "causes": lambda s, t: list_causes(s, t.id, "live"),
    "held": lambda s, t: list_queue(s, t.id, "live", state="held", limit=10),
    "claimed": lambda s, t: list_queue(s, t.id, "live", state="claimed", limit=10),
    "parked": lambda s, t: list_queue(s, t.id, "live", state="ambiguous", limit=10),
    **{f"page {n}": _page(wanted) for n, wanted in enumerate(_RARE)},
    **{f"count {n}": _count(wanted) for n, wanted in enumerate(_RARE)},
}


@pytest.fixture
async def filled(queue: Harness, tenant: SeededTenant) -> Harness:
    """A queue with much of the usual, and little of what is looked for."""
    await queue.add_bulk(tenant, to=["a@r.test"])
    await let_fail(queue, tenant, lane="bulk")
    async with transaction(queue.pool, [tenant.id]) as connection:
        await connection.execute(_BURY, tenant.id, _BACKLOG)
        await connection.execute(_FILL, tenant.id, _BACKLOG)
    owner = await asyncpg.connect(queue.database.owner_url)
    try:
        await owner.execute("VACUUM (ANALYZE)")
    finally:
        await owner.close()
    return queue


@pytest.mark.parametrize("look", LOOKS)
async def test_a_look_does_not_walk_what_it_does_not_show(
    filled: Harness, tenant: SeededTenant, look: str
) -> None:
    async with filled.database.sessions("tp_console") as sessions:
        # One connection, because each counts for itself; often enough for a plan to be kept.
        for _ in range(8):
            async with tenant_session(sessions, tenant.id) as session:
                await session.execute(text("SELECT pg_stat_force_next_flush()"))
                before = (await session.execute(_ROWS_READ)).scalar_one()
            async with tenant_session(sessions, tenant.id) as session:
                assert await LOOKS[look](session, tenant) is not None
                await session.execute(text("SELECT pg_stat_force_next_flush()"))
            async with tenant_session(sessions, tenant.id) as session:
                after = (await session.execute(_ROWS_READ)).scalar_one()
            assert after - before < _BACKLOG / 10


async def test_counting_a_backlog_looks_at_no_more_than_the_limit(
    filled: Harness, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallypost_domain.queue.waiting.COUNT_LIMIT", 10)
    monkeypatch.setattr("tallypost_domain.queue.dead_letters.COUNT_LIMIT", 10)
    async with filled.database.session("tp_console", tenant.id) as session:
        assert (await count_dead_letters(session, tenant.id, "live")).count == 10
        # None of these rows has an email, so none is of the mode.
        assert (await count_queue(session, tenant.id, "live")).waiting == 0
