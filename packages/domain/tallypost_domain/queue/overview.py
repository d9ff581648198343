"""The platform in numbers, across tenants, for an operator's page that asks each second.

Numbers only: no tenant, address or subject. Each query is bounded, whatever the backlog.
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.account_states import SeenState, list_states
from tallypost_domain.queue.claims import LEASE_S
from tallypost_domain.queue.depths import LaneDepth
from tallypost_domain.queue.samples import AGE_BOUNDS_S, percentile_s
from tallypost_domain.queue.waiting import STATES, QueueCounts
from tallypost_providers.types import Outcome

COUNT_LIMIT = 100_000
"""Counting stops here, for each lane and state."""

_MINUTE_S = 60
_PROVIDERS_S = 300
_SERIES_S = 300
_SHARE = 0.95

_SUMS = ", ".join(f"sum(s.{outcome})::bigint AS {outcome}" for outcome in Outcome)
_RECENT = "s.at > now() - make_interval(secs => :since_s)"
_BUCKET = "date_bin(make_interval(secs => :bucket_s), s.at, TIMESTAMPTZ 'epoch')"

_DEPTHS = text("SELECT lane, due_count, oldest_due_age_s FROM measure_queue()")
_STATES = text("SELECT state, row_count FROM count_queue_states(:max_rows)")
_WORKERS = text("""
    SELECT w.id, w.started_at, extract(epoch FROM now() - w.beat_at)::float8 AS beat_age_s
    FROM workers w ORDER BY w.started_at, w.id
""")
_PROVIDERS = text(f"""
    SELECT s.provider, {_SUMS} FROM delivery_samples s WHERE {_RECENT}
    GROUP BY s.provider ORDER BY s.provider
""")  # noqa: S608 - words of ours
_SENT = text(f"SELECT coalesce(sum(s.accepted), 0) FROM delivery_samples s WHERE {_RECENT}")  # noqa: S608 - as above
_AGES = text(f"""
    SELECT a.position, sum(a.emails)::bigint AS emails
    FROM delivery_samples s CROSS JOIN unnest(s.ages) WITH ORDINALITY AS a (emails, position)
    WHERE {_RECENT} AND a.emails > 0
    GROUP BY a.position
""")  # noqa: S608 - as above
_SERIES = text(f"""
    SELECT {_BUCKET} AS bucket, {_SUMS} FROM delivery_samples s WHERE {_RECENT}
    GROUP BY bucket ORDER BY bucket
""")  # noqa: S608 - as above
_SERIES_AGES = text(f"""
    SELECT {_BUCKET} AS bucket, a.position, sum(a.emails)::bigint AS emails
    FROM delivery_samples s CROSS JOIN unnest(s.ages) WITH ORDINALITY AS a (emails, position)
    WHERE {_RECENT} AND a.emails > 0
    GROUP BY bucket, a.position
""")  # noqa: S608 - as above


class WorkerBeat(Struct, frozen=True):
    """A worker process and its last sign of life."""

    id: UUID
    started_at: dt.datetime
    beat_age_s: float
    is_alive: bool
    """False where its lease is over, so that others take its rows."""


class ProviderNumbers(Struct, frozen=True):
    """What one provider answered in the last five minutes, by recipient."""

    name: str
    outcomes: Mapping[Outcome, int]


class SampleBucket(Struct, frozen=True):
    """What all workers did in a few seconds."""

    at: dt.datetime
    """The beginning."""
    outcomes: Mapping[Outcome, int]
    p95_s: float | None
    """Age that 95 % of emails did not exceed at the answer to their first handover; None where
    there was none."""


class PlatformNumbers(Struct, frozen=True, kw_only=True):
    """The platform now."""

    lanes: Mapping[Lane, LaneDepth]
    states: QueueCounts
    dead_letters: int
    workers: tuple[WorkerBeat, ...]
    send_rate_per_s: float
    """Recipients accepted by providers, over the last minute."""
    p95_s: float | None
    """As in SampleBucket, over the last minute."""
    providers: tuple[ProviderNumbers, ...]
    accounts: tuple[SeenState, ...]


async def measure_platform(session: AsyncSession) -> PlatformNumbers:
    """Everything that the page shows as a number; session is of no tenant."""
    depths = {
        Lane(row.lane): LaneDepth(row.due_count, row.oldest_due_age_s)
        for row in await session.execute(_DEPTHS)
    }
    counted = await session.execute(_STATES, {"max_rows": COUNT_LIMIT})
    states = {row.state: row.row_count for row in counted}
    sent = (await session.execute(_SENT, {"since_s": _MINUTE_S})).scalar_one()
    ages = await session.execute(_AGES, {"since_s": _MINUTE_S})
    return PlatformNumbers(
        lanes={lane: depths.get(lane, LaneDepth(0, 0.0)) for lane in Lane},
        states=QueueCounts(
            **{state: states.get(state, 0) for state in STATES},
            incomplete=frozenset(
                state for state, number in states.items() if number == COUNT_LIMIT
            ),
        ),
        dead_letters=states.get("dead_letter", 0),
        workers=tuple(
            WorkerBeat(row.id, row.started_at, row.beat_age_s, row.beat_age_s < LEASE_S)
            for row in await session.execute(_WORKERS)
        ),
        send_rate_per_s=sent / _MINUTE_S,
        p95_s=_p95_s(Counter({row.position: row.emails for row in ages})),
        providers=tuple(
            ProviderNumbers(row.provider, _outcomes(row))
            for row in await session.execute(_PROVIDERS, {"since_s": _PROVIDERS_S})
        ),
        accounts=await list_states(session),
    )


async def list_samples(
    session: AsyncSession, *, since_s: int = _SERIES_S, bucket_s: int = 5
) -> tuple[SampleBucket, ...]:
    """What happened in the last since_s seconds, oldest first; up to an hour is kept.

    Times in which nothing happened are left out. The newest bucket is not over yet.
    """
    parameters = {"since_s": since_s, "bucket_s": bucket_s}
    ages: dict[dt.datetime, Counter[int]] = defaultdict(Counter)
    for row in await session.execute(_SERIES_AGES, parameters):
        ages[row.bucket][row.position] = row.emails
    return tuple(
        SampleBucket(row.bucket, _outcomes(row), _p95_s(ages[row.bucket]))
        for row in await session.execute(_SERIES, parameters)
    )


# Any: a row with a column for each outcome.
def _outcomes(row: Any) -> dict[Outcome, int]:
    return {outcome: getattr(row, outcome.value) for outcome in Outcome}


def _p95_s(emails: Mapping[int, int]) -> float | None:
    """emails by the position of their class, which counts from 1."""
    return percentile_s([emails.get(n, 0) for n in range(1, len(AGE_BOUNDS_S) + 2)], _SHARE)
