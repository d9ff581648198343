"""Counts what became of a tenant's emails, and how long they took to leave.

Nothing here reads the statuses of all emails: for a million of them that takes seconds. Emails are
counted in an index. Those that ended badly are found by their events, those still to be sent in the
queue, and all others were sent.
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct
from sqlalchemy import ARRAY, Text, TextClause, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.emails.id_times import first_id_at
from tallypost_domain.emails.lifecycle import PENDING, RecipientStatus
from tallypost_providers.types import Mode

MOST_BUCKETS: Final = 800
"""A month of hours."""

MOST_CHECKED: Final = 10_000
"""Emails in the queue, such that failed, that were canceled, and that were suppressed, of each of
which the status is looked up."""

MOST_TIMED: Final = 5_000
"""Newest emails whose handover is timed."""

Bucket = Literal["hour", "day"]

_LENGTH: Final = {"hour": dt.timedelta(hours=1), "day": dt.timedelta(days=1)}

# What an email shows when several of these befell its recipients: the first of them.
_RARE: Final = (
    RecipientStatus.COMPLAINED,
    RecipientStatus.BOUNCED,
    RecipientStatus.FAILED,
    RecipientStatus.CANCELED,
    RecipientStatus.SUPPRESSED,
)
# Emails with their event may be sent: once requeued, by later proof, or to other recipients.
_DOUBTFUL: Final = (RecipientStatus.FAILED, RecipientStatus.CANCELED, RecipientStatus.SUPPRESSED)


class OutcomeBucket(Struct, frozen=True):
    """Emails that were accepted in an hour or a day, by their present status."""

    at: dt.datetime
    """Its beginning."""
    counts: Mapping[RecipientStatus, int]
    """Statuses that occur. What was delivered is counted as `sent`."""

    @property
    def total(self) -> int:
        """All that was accepted."""
        return sum(self.counts.values())


class HandoverTimes(Struct, frozen=True):
    """Seconds from acceptance, or from the time that was asked for, to the first acceptance by a
    provider."""

    p50_s: float | None
    p95_s: float | None
    count: int
    """Emails that were timed; both times are None where there are none."""


# Written out: a plan that suits any type could not use the index of the rare ones.
_RARE_TYPES = ", ".join(f"'email.{status}'" for status in _RARE)

_ACCEPTED = """
    SELECT a.accepted
    FROM unnest(:leasts, :ends) WITH ORDINALITY AS b (least, beyond, number)
    CROSS JOIN LATERAL (
        SELECT count(*) AS accepted FROM emails e
        WHERE e.tenant_id = :tenant_id AND e.mode = :mode
          AND e.id >= b.least AND e.id < b.beyond
    ) a
    ORDER BY b.number
"""

# Each email is looked up by its key, because of the limits of one: joined, the planner would read
# whole partitions.
_NOT_SENT = f"""
    WITH waiting AS MATERIALIZED (
        SELECT q.email_id AS id, e.mode, e.status
        FROM (
            SELECT q.email_id FROM send_queue q
            WHERE q.tenant_id = :tenant_id AND q.email_id >= :least AND q.email_id < :beyond
            ORDER BY q.email_id DESC LIMIT :most
        ) q
        CROSS JOIN LATERAL (
            SELECT e.mode, e.status FROM emails e
            WHERE e.tenant_id = :tenant_id AND e.id = q.email_id LIMIT 1
        ) e
    ), rare AS MATERIALIZED (
        SELECT v.subject_id AS id, min(array_position(:rare, substr(v.type, 7))) AS place
        FROM events v
        WHERE v.tenant_id = :tenant_id AND v.mode = :mode AND v.type IN ({_RARE_TYPES})
          AND v.subject_id >= :least AND v.subject_id < :beyond
        GROUP BY v.subject_id
    ), checked AS MATERIALIZED (
        SELECT d.id, e.status
        FROM (
            SELECT r.id, row_number() OVER (PARTITION BY r.place ORDER BY r.id DESC) AS number
            FROM rare r WHERE (:rare)[r.place] = ANY (:doubtful)
        ) d
        CROSS JOIN LATERAL (
            SELECT e.status FROM emails e
            WHERE e.tenant_id = :tenant_id AND e.id = d.id LIMIT 1
        ) e
        WHERE d.number <= :most
    )
    SELECT width_bucket(f.id, :leasts) - 1 AS number, f.status, count(*) AS counted
    FROM (
        SELECT w.id, w.status FROM waiting w WHERE w.mode = :mode
        UNION ALL
        SELECT r.id, coalesce(c.status, (:rare)[r.place])
        FROM rare r LEFT JOIN checked c ON c.id = r.id LEFT JOIN waiting w ON w.id = r.id
        WHERE w.id IS NULL
    ) f
    GROUP BY number, f.status
"""  # noqa: S608 - words of this module

_BACKLOG_ENDS = """
    SELECT q.email_id FROM send_queue q
    WHERE q.tenant_id = :tenant_id AND q.email_id >= :least AND q.email_id < :beyond
    ORDER BY q.email_id DESC OFFSET :most LIMIT 1
"""

# The queue does not know modes: those of the mode with fewer emails are looked for one by one.
_BACKLOG = """
    SELECT q.waiting, e.of_fewer
    FROM unnest(:leasts, :ends) WITH ORDINALITY AS b (least, beyond, number)
    CROSS JOIN LATERAL (
        SELECT count(*) AS waiting FROM send_queue q
        WHERE q.tenant_id = :tenant_id AND q.email_id >= b.least AND q.email_id < b.beyond
          AND q.email_id <= :newest
    ) q
    CROSS JOIN LATERAL (
        SELECT count(*) AS of_fewer
        FROM emails e
        CROSS JOIN LATERAL (
            SELECT FROM send_queue q
            WHERE q.tenant_id = :tenant_id AND q.email_id = e.id LIMIT 1
        ) w
        WHERE q.waiting > 0 AND e.tenant_id = :tenant_id AND e.mode = :fewer
          AND e.id >= b.least AND e.id < b.beyond AND e.id <= :newest
    ) e
    ORDER BY b.number
"""

# A provider may have accepted the email for one recipient and not for another; the event tells of
# the first.
_HANDOVERS = """
    SELECT
        count(*) AS counted,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY s.took_s) AS p50_s,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY s.took_s) AS p95_s
    FROM (
        SELECT e.id, e.created_at, e.scheduled_at FROM emails e
        WHERE e.tenant_id = :tenant_id AND e.mode = :mode AND e.id >= :least
        ORDER BY e.id DESC LIMIT :most
    ) e
    CROSS JOIN LATERAL (
        SELECT
            extract(epoch FROM min(v.created_at) - greatest(e.created_at, e.scheduled_at))::float8
                AS took_s
        FROM events v
        WHERE v.tenant_id = :tenant_id AND v.subject_id = e.id AND v.type = 'email.sent'
    ) s
    WHERE s.took_s IS NOT NULL
"""


class _Buckets(Struct, frozen=True):
    """Where buckets begin, and what a statement about them is asked with."""

    starts: tuple[dt.datetime, ...]
    asked: Mapping[str, object]


async def count_outcomes(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    *,
    since: dt.datetime,
    until: dt.datetime,
    bucket: Bucket,
) -> tuple[OutcomeBucket, ...]:
    """The emails that were accepted in each hour or day from since on, by their present status.

    All buckets are there, also empty ones; until may cut the last one short. A million emails take
    0.1 to 0.2 s, for each is counted in the index: a page that shows this often should keep it.

    Exact, but for what lies beyond MOST_CHECKED. Older emails in the queue count as `queued`. Older
    ones that failed, were canceled or suppressed count so, though some may be sent by now. Raises
    ValueError for more than MOST_BUCKETS, or none.
    """
    buckets = _divide(tenant_id, mode, since, until, _LENGTH[bucket])
    counts: list[Counter[RecipientStatus]] = [Counter() for _ in buckets.starts]
    for row in await session.execute(_statement(_NOT_SENT), buckets.asked):
        status = RecipientStatus(row.status)
        if status in PENDING or status in _RARE:
            counts[row.number][status] += row.counted
    accepted = await _count_accepted(session, buckets, mode)
    backlog = await _count_backlog(session, buckets, mode, accepted)
    for of_one, total, queued in zip(counts, accepted, backlog, strict=True):
        of_one[RecipientStatus.QUEUED] += queued
        of_one[RecipientStatus.SENT] = max(0, total - of_one.total())
    return tuple(
        OutcomeBucket(at, {status: number for status, number in of_one.items() if number})
        for at, of_one in zip(buckets.starts, counts, strict=True)
    )


async def measure_handover(
    session: AsyncSession, tenant_id: UUID, mode: Mode, since: dt.datetime
) -> HandoverTimes:
    """How long emails took to be handed over, of the newest MOST_TIMED that came after since."""
    asked = {
        "tenant_id": tenant_id,
        "mode": mode,
        "least": first_id_at(since),
        "most": MOST_TIMED,
    }
    row = (await session.execute(text(_HANDOVERS), asked)).one()
    return HandoverTimes(row.p50_s, row.p95_s, row.counted)


def _divide(
    tenant_id: UUID, mode: Mode, since: dt.datetime, until: dt.datetime, length: dt.timedelta
) -> _Buckets:
    count = -((since - until) // length)
    if not 1 <= count <= MOST_BUCKETS:
        raise ValueError(f"1 to {MOST_BUCKETS} buckets can be counted, not {count}")
    starts = tuple(since + number * length for number in range(count))
    leasts = [first_id_at(start) for start in starts]
    end = first_id_at(until)
    asked = {
        "tenant_id": tenant_id,
        "mode": mode,
        "leasts": leasts,
        "ends": [*leasts[1:], end],
        "least": leasts[0],
        "beyond": end,
        "most": MOST_CHECKED,
        "rare": [status.value for status in _RARE],
        "doubtful": [status.value for status in _DOUBTFUL],
    }
    return _Buckets(starts, asked)


async def _count_accepted(session: AsyncSession, buckets: _Buckets, mode: Mode) -> Sequence[int]:
    asked = {**buckets.asked, "mode": mode}
    return (await session.scalars(_statement(_ACCEPTED), asked)).all()


async def _count_backlog(
    session: AsyncSession, buckets: _Buckets, mode: Mode, accepted: Sequence[int]
) -> Sequence[int]:
    """The mode's emails in the queue that were too many to look up, in each bucket."""
    newest = await session.scalar(_statement(_BACKLOG_ENDS), buckets.asked)
    if newest is None:
        return [0] * len(accepted)
    other: Mode = "test" if mode == "live" else "live"
    has_fewer = sum(accepted) < sum(await _count_accepted(session, buckets, other))
    asked = {**buckets.asked, "newest": newest, "fewer": mode if has_fewer else other}
    rows = await session.execute(_statement(_BACKLOG), asked)
    return [row.of_fewer if has_fewer else row.waiting - row.of_fewer for row in rows]


def _statement(sql: str) -> TextClause:
    """A statement that takes what it names of a question about buckets."""
    types = {
        "leasts": ARRAY(Uuid),
        "ends": ARRAY(Uuid),
        "rare": ARRAY(Text),
        "doubtful": ARRAY(Text),
    }
    return text(sql).bindparams(
        *(bindparam(name, type_=type_) for name, type_ in types.items() if f":{name}" in sql)
    )
