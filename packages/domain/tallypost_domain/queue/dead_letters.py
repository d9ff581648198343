"""Reads dead letters: recipients that failed for a cause not their own, until they are requeued.

`DeadLetter.id` is the id of the event that tells of the failure: newer ones sort later, and a
recipient that fails again gets another.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import ColumnElement, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.emails.id_times import first_id_at
from tallypost_domain.emails.models import Attempt, Email, Recipient
from tallypost_domain.emails.views import Page
from tallypost_domain.queue.models import DeadLetterRow
from tallypost_providers.types import Mode, Outcome

MAX_PAGE = 100
COUNT_LIMIT = 10_000
"""Counting stops here."""

# What an attempt says of somebody who may have the email although it counts as failed.
_MAY_HAVE_ARRIVED = frozenset({Outcome.AMBIGUOUS.value, Outcome.ACCEPTED.value})


class DeadLetterFilter(Struct, frozen=True, kw_only=True):
    """What a list is narrowed to; None leaves it open. An index serves each of them."""

    cause: str | None = None
    stream: str | None = None
    recipient_domain: str | None = None
    """In lower-case ASCII form, as addresses have it."""
    email_id: UUID | None = None
    failed_from: dt.datetime | None = None
    failed_before: dt.datetime | None = None


EVERYTHING = DeadLetterFilter()


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One recipient that waits for a person to decide."""

    id: UUID
    email_id: UUID
    recipient_id: UUID
    address: str
    subject: str
    stream: str
    cause: str
    """`attempts_exhausted`, or why the email could not be built."""
    detail: str | None
    """The last words of the provider, or our own reason."""
    attempts: int
    """Handovers in which a provider was asked for this recipient."""
    may_have_arrived: bool
    """One of those ended without a statement, or was accepted too late: it may arrive twice."""
    failed_at: dt.datetime
    accepted_at: dt.datetime


class DeadLetterCount(Struct, frozen=True):
    """How many there are, and the newest of them."""

    count: int
    is_complete: bool
    """False where there are more than were counted."""
    newest: UUID | None
    """Where `requeue_matching` starts, so that it takes what was counted and nothing newer."""


async def list_dead_letters(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    wanted: DeadLetterFilter = EVERYTHING,
    *,
    limit: int,
    after: UUID | None = None,
) -> Page[DeadLetter]:
    """A page of dead letters, the newest first; limit is 1 to MAX_PAGE."""
    limit = min(limit, MAX_PAGE)
    conditions = matching(tenant_id, mode, wanted)
    if after is not None:
        conditions += (DeadLetterRow.id < after,)
    rows = (await session.execute(_letters(tenant_id, conditions, limit + 1))).all()
    page = rows[:limit]
    outcomes = await _outcomes(session, tenant_id, {row.email_id for row in page})
    letters = tuple(_letter(row, outcomes.get(row.recipient_id, ())) for row in page)
    return Page(items=letters, has_more=len(rows) > limit)


async def count_dead_letters(
    session: AsyncSession, tenant_id: UUID, mode: Mode, wanted: DeadLetterFilter = EVERYTHING
) -> DeadLetterCount:
    """How many dead letters match, up to COUNT_LIMIT."""
    conditions = matching(tenant_id, mode, wanted)
    counted = select(DeadLetterRow.id).where(*conditions).limit(COUNT_LIMIT + 1).subquery()
    count = select(func.count()).select_from(counted).scalar_subquery()
    newest = select(DeadLetterRow.id).where(*conditions).order_by(DeadLetterRow.id.desc()).limit(1)
    # By one statement: what fails between two would be requeued with the others, and not counted.
    row = (await session.execute(select(count, newest.scalar_subquery()))).one()
    found: int = row[0]
    return DeadLetterCount(
        count=min(found, COUNT_LIMIT), is_complete=found <= COUNT_LIMIT, newest=row[1]
    )


async def list_causes(session: AsyncSession, tenant_id: UUID, mode: Mode) -> tuple[str, ...]:
    """The causes that dead letters of a mode have, by name."""
    own = (DeadLetterRow.tenant_id == tenant_id, DeadLetterRow.mode == mode)
    # From one cause to the next, however many dead letters each has.
    first = select(func.min(DeadLetterRow.cause).label("cause")).where(*own)
    causes = first.cte("causes", recursive=True)
    following = select(
        select(func.min(DeadLetterRow.cause))
        .where(*own, DeadLetterRow.cause > causes.c.cause)
        .scalar_subquery()
    ).where(causes.c.cause.is_not(None))
    causes = causes.union_all(following)
    found = await session.scalars(
        select(causes.c.cause).where(causes.c.cause.is_not(None)).order_by(literal_column("1"))
    )
    return tuple(found)


def matching(
    tenant_id: UUID, mode: Mode, wanted: DeadLetterFilter
) -> tuple[ColumnElement[bool], ...]:
    """The conditions that a filter stands for; the time of a failure is in its id."""
    conditions: list[ColumnElement[bool]] = [
        DeadLetterRow.tenant_id == tenant_id,
        DeadLetterRow.mode == mode,
    ]
    if wanted.cause is not None:
        conditions.append(DeadLetterRow.cause == wanted.cause)
    if wanted.stream is not None:
        conditions.append(DeadLetterRow.stream == wanted.stream)
    if wanted.recipient_domain is not None:
        conditions.append(DeadLetterRow.recipient_domain == wanted.recipient_domain)
    if wanted.email_id is not None:
        conditions.append(DeadLetterRow.email_id == wanted.email_id)
    if wanted.failed_from is not None:
        conditions.append(DeadLetterRow.id >= first_id_at(wanted.failed_from))
    if wanted.failed_before is not None:
        conditions.append(DeadLetterRow.id < first_id_at(wanted.failed_before))
    return tuple(conditions)


# Any: the columns of a row.
def _letters(
    tenant_id: UUID, conditions: tuple[ColumnElement[bool], ...], limit: int
) -> Select[Any]:
    found = (
        select(DeadLetterRow)
        .where(*conditions)
        .order_by(DeadLetterRow.id.desc())
        .limit(limit)
        .subquery()
    )
    # By key, for the few rows of the page.
    return (
        select(
            found.c.id,
            found.c.email_id,
            found.c.recipient_id,
            found.c.cause,
            found.c.stream,
            found.c.failed_at,
            Recipient.address,
            Recipient.detail,
            Email.subject,
            Email.created_at,
        )
        .join(Email, (Email.tenant_id == tenant_id) & (Email.id == found.c.email_id))
        .join(
            Recipient,
            (Recipient.tenant_id == tenant_id)
            & (Recipient.email_id == found.c.email_id)
            & (Recipient.id == found.c.recipient_id),
        )
        .order_by(found.c.id.desc())
    )


# Any: a row of `_letters`.
def _letter(row: Any, outcomes: Collection[object]) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        email_id=row.email_id,
        recipient_id=row.recipient_id,
        address=row.address,
        subject=row.subject,
        stream=row.stream,
        cause=row.cause,
        detail=row.detail,
        attempts=len(outcomes),
        may_have_arrived=not _MAY_HAVE_ARRIVED.isdisjoint(outcomes),
        failed_at=row.failed_at,
        accepted_at=row.created_at,
    )


async def _outcomes(
    session: AsyncSession, tenant_id: UUID, email_ids: Iterable[UUID]
) -> Mapping[UUID, list[object]]:
    """What each recipient of these emails got for an answer, handover by handover."""
    wanted = sorted(email_ids)
    outcomes: dict[UUID, list[object]] = {}
    if not wanted:
        return outcomes
    attempts = await session.scalars(
        select(Attempt.recipients).where(
            Attempt.tenant_id == tenant_id,
            Attempt.email_id.in_(wanted),
            # No partition without an email between the two is looked into.
            Attempt.email_id.between(wanted[0], wanted[-1]),
        )
    )
    for recipients in attempts:
        for entry in recipients:
            outcomes.setdefault(UUID(str(entry["recipient_id"])), []).append(entry["outcome"])
    return outcomes
