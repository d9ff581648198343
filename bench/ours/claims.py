"""Claiming from queues of different sizes: 1,000 tenants, of which one holds four fifths.

In this process, through the functions that the worker calls, on its database login. A claim takes 4
rows of each of 50 tenants, as a busy worker does.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from uuid import UUID

import asyncpg
from msgspec import Struct

from bench.anchors import crypto
from bench.context import Context
from bench.errors import Failed
from bench.lines import Line, Outcome
from bench.platform import Platform, connected
from bench.rounds import Rounds
from tallypost_core.ids import new_id
from tallypost_domain.db.pools import Connection, Pool, create_pool
from tallypost_domain.queue.claims import claim_for_sending, list_due_tenants, release_claims
from tallypost_domain.queue.types import Claim

_FLAT = Line(
    name="claim-large-vs-small",
    floor=2.5,
    goal=1.5,
    unit="ms",
    says="median claim from 5,000,000 rows / from 100,000",
)
_FUTURE = Line(
    name="claim-future-mail",
    floor=2.5,
    goal=1.5,
    unit="ms",
    says="median of listing and claiming where 950 of 1,000 tenants hold only future mail / "
    "where all hold due mail",
)
_DRAINING = Line(
    name="claim-while-draining",
    floor=2.5,
    goal=1.5,
    unit="ms",
    says="median claim at the end of draining 150,000 rows / at its start",
)
_SNAPSHOT = Line(
    name="claim-under-old-snapshot",
    floor=5,
    goal=2.5,
    unit="ms",
    says="median claim after draining 100,000 rows under an open snapshot / at its start",
)
LINES = (_FLAT, _FUTURE, _DRAINING, _SNAPSHOT)

_LANE = "transactional"
_TENANTS = 1_000
_FEWER_TENANTS = 100
_FEW_ROWS = 10_000
_PER_CLAIM = 50
_QUOTA = 4
_DUE_AMONG_FUTURE = 50
_MOST_SAMPLED = 40
_SIGNING_S = 0.3
_LOADED_AT_ONCE = 500_000

_MAKE_TENANTS = """
    INSERT INTO tenants (id, name)
    SELECT gen_random_uuid(), 'Sample tenant' FROM generate_series(1, $1::int)
"""

# Four of five rows belong to the first tenant. The ids rise with time as those of emails do; the
# rows of the emails themselves play no part in a claim, so there are none.
_LOAD = """
    INSERT INTO send_queue (tenant_id, email_id, lane, due_at)
    SELECT ($1::uuid[])[x.tenant],
           (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')
            || '70008' || lpad(to_hex(x.n), 15, '0'))::uuid,
           $2,
           now() + CASE WHEN x.tenant > $5::int THEN interval '1 day' ELSE interval '0' END
    FROM (
        SELECT n, CASE WHEN n % 5 < 4 THEN 1
                       ELSE 2 + (n / 5) % (cardinality($1::uuid[]) - 1) END AS tenant
        FROM generate_series($3::bigint, $4::bigint) AS n
    ) x
"""

_DELETE = """
    DELETE FROM send_queue q USING unnest($1::uuid[], $2::uuid[]) AS d (tenant_id, email_id)
    WHERE q.tenant_id = d.tenant_id AND q.email_id = d.email_id
"""


class _Queue(Struct, frozen=True):
    """A database with nothing in it but a queue."""

    platform: Platform
    tenants: tuple[UUID, ...]
    """Those with mail that is due."""
    rows: int


def run(context: Context) -> list[Outcome]:
    """Fill a database for each size and claim from them in turn; then drain some."""
    scale, rounds = context.scale, Rounds()
    with ExitStack() as stack:

        def prepare(name: str, rows: int, *, due_tenants: int = _TENANTS) -> _Queue:
            return stack.enter_context(_prepared(context, name, rows, due_tenants))

        queues = {f"{rows}-rows": prepare(f"claims_{rows}", rows) for rows in scale.claim_rows}
        queues["future-mail"] = prepare(
            "claims_future", scale.queue_rows, due_tenants=_DUE_AMONG_FUTURE
        )
        queues["due-mail"] = prepare("claims_due", scale.queue_rows)
        for _ in context.rounds("claims"):
            rounds.note("rsa-signs", crypto.measure(context.children, _SIGNING_S).rsa_signs)
            for name, queue in queues.items():
                # A small queue must not run out before the round is over.
                count = min(scale.claims_per_round, queue.rows // (_PER_CLAIM * _QUOTA))
                asyncio.run(_note_claims(rounds, name, queue, max(1, count)))
        drained = scale.drained_rows * 3 // 2
        context.say(f"claims: drains {drained} rows")
        draining = asyncio.run(_drain(queues["due-mail"], drained, under_snapshot=False))
        old = prepare("claims_snapshot", scale.queue_rows)
        context.say(f"claims: drains {scale.drained_rows} rows under an open snapshot")
        snapshot = asyncio.run(_drain(old, scale.drained_rows, under_snapshot=True))
    context.report("claims", rounds)
    small, large = (f"{scale.claim_rows[index]}-rows" for index in (1, -1))
    is_noisy = rounds.is_noisy("rsa-signs")
    return [
        _ratio(_FLAT, rounds, large, small),
        _ratio(_FUTURE, rounds, "future-mail-round", "due-mail-round"),
        _from_start(_DRAINING, draining, is_noisy=is_noisy),
        _from_start(_SNAPSHOT, snapshot, is_noisy=is_noisy),
    ]


def _ratio(line: Line, rounds: Rounds, name: str, anchor: str) -> Outcome:
    return Outcome(
        line=line.name,
        measured=rounds.median(name),
        values=rounds.ratios(name, anchor),
        is_noisy=rounds.is_noisy("rsa-signs"),
        note=f"{name} against {anchor}",
    )


def _from_start(line: Line, times_ms: Sequence[float], *, is_noisy: bool) -> Outcome:
    # The two never overlap, however few claims there were.
    sample = max(1, min(_MOST_SAMPLED, len(times_ms) // 3))
    start = statistics.median(times_ms[:sample])
    end = statistics.median(times_ms[-sample:])
    return Outcome(
        line=line.name,
        measured=end,
        values=(end / start,),
        is_noisy=is_noisy,
        note=f"{start:.2f} ms at the start, {end:.2f} ms at the end, {len(times_ms)} claims",
    )


@contextmanager
def _prepared(context: Context, name: str, rows: int, due_tenants: int) -> Iterator[_Queue]:
    context.say(f"claims: fills {name} with {rows} rows")
    with context.cluster.database(name, context.folder) as platform:
        platform.execute(_MAKE_TENANTS, _TENANTS if rows > _FEW_ROWS else _FEWER_TENANTS)
        tenants = tuple(row["id"] for row in platform.fetch("SELECT id FROM tenants ORDER BY id"))
        connected(platform.superuser_url, lambda it: _load(it, tenants, rows, due_tenants))
        platform.execute("VACUUM (ANALYZE) send_queue")
        yield _Queue(platform, tenants[:due_tenants], rows)


async def _load(
    connection: Connection, tenants: Sequence[UUID], rows: int, due_tenants: int
) -> None:
    # There are no emails for the rows to refer to.
    await connection.execute("SET session_replication_role = replica")
    for first in range(0, rows, _LOADED_AT_ONCE):
        last = min(rows, first + _LOADED_AT_ONCE) - 1
        await connection.execute(_LOAD, list(tenants), _LANE, first, last, due_tenants)


async def _note_claims(rounds: Rounds, name: str, queue: _Queue, count: int) -> None:
    """Claim so often and give everything back; notes the median of claims and of whole rounds."""
    worker_id = new_id()
    async with _pool(queue.platform) as pool:
        tenants = _in_turn(queue.tenants)
        taken: list[Claim] = []
        claims_ms, rounds_ms = [], []
        # The first finds the connection's caches cold.
        for _ in range(count + 1):
            started_s = time.perf_counter()
            await list_due_tenants(pool, _LANE)
            listed_s = time.perf_counter()
            taken += await _claim(pool, worker_id, next(tenants))
            ended_s = time.perf_counter()
            claims_ms.append((ended_s - listed_s) * 1000)
            rounds_ms.append((ended_s - started_s) * 1000)
        await release_claims(pool, worker_id, taken)
    rounds.note(name, statistics.median(claims_ms[1:]))
    rounds.note(f"{name}-round", statistics.median(rounds_ms[1:]))
    rounds.note(f"{name}-claimed", len(taken) / (count + 1))


async def _drain(queue: _Queue, rows: int, *, under_snapshot: bool) -> list[float]:
    """Claim and remove so many rows; returns the time of each claim in ms."""
    worker_id, times_ms, drained = new_id(), list[float](), 0
    snapshot = await asyncpg.connect(queue.platform.superuser_url)
    remover = await asyncpg.connect(queue.platform.superuser_url)
    try:
        if under_snapshot:
            # As a dump or a long report does: what is removed from here on cannot be tidied up.
            await snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await snapshot.execute("SELECT 1")
        async with _pool(queue.platform) as pool:
            tenants = _in_turn(queue.tenants)
            await _claim(pool, worker_id, next(tenants))
            while drained < rows:
                started_s = time.perf_counter()
                claims = await _claim(pool, worker_id, next(tenants))
                times_ms.append((time.perf_counter() - started_s) * 1000)
                if not claims:
                    raise Failed(f"nothing was left to claim after {drained} of {rows} rows")
                drained += len(claims)
                await remover.execute(
                    _DELETE,
                    [claim.tenant_id for claim in claims],
                    [claim.email_id for claim in claims],
                )
    finally:
        await snapshot.close()
        await remover.close()
    return times_ms


async def _claim(pool: Pool, worker_id: UUID, tenant_ids: Sequence[UUID]) -> list[Claim]:
    return await claim_for_sending(pool, worker_id, lane=_LANE, tenant_ids=tenant_ids, quota=_QUOTA)


def _in_turn(tenants: Sequence[UUID]) -> Iterator[list[UUID]]:
    """Groups of tenants, least recently served first."""
    circle = itertools.cycle(tenants)
    size = min(_PER_CLAIM, len(tenants))
    while True:
        yield list(itertools.islice(circle, size))


@asynccontextmanager
async def _pool(platform: Platform) -> AsyncIterator[Pool]:
    pool = await create_pool(platform.url("tp_deliver"), size=2, app="bench")
    try:
        yield pool
    finally:
        await pool.close()
