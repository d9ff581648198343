"""Shows what a tenant's queue holds, within bounds: a look never walks the backlog."""

import datetime as dt
from typing import Any, Final, Literal, get_args
from uuid import UUID

from msgspec import Struct
from sqlalchemy import CTE, ColumnElement, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.models import Email, QueueRow, Recipient
from tallypost_domain.emails.types import Lane
from tallypost_domain.queue.bounded_looks import find_page, first_rows
from tallypost_providers.types import Mode

MAX_PAGE = 1_000
COUNT_LIMIT = 10_000
"""Counting stops here, for each state."""

# A queue row does not know its email's mode. So many rows are looked at for one page.
_LOOK = 2_000

QueueState = Literal["waiting", "claimed", "handing_over", "held", "ambiguous"]
"""`ambiguous` is parked: only recipients are left that may have the email."""

STATES: Final[tuple[QueueState, ...]] = get_args(QueueState)


class QueuedEmail(Struct, frozen=True, kw_only=True):
    """An email with recipients still to send to."""

    email_id: UUID
    state: QueueState
    lane: Lane
    due_at: dt.datetime
    attempt: int
    """Handovers begun so far, since it was accepted or requeued."""
    accepted_at: dt.datetime
    status: RecipientStatus
    stream: str
    subject: str
    first_recipient: str | None
    recipient_count: int


class QueuePage(Struct, frozen=True):
    """One page, and where the next one begins; it may be short and yet not the last."""

    items: tuple[QueuedEmail, ...]
    after: UUID | None


class Turn(Struct, frozen=True, kw_only=True):
    """Of one email: what decides whom it goes to, and when."""

    lane: Lane
    domain_id: UUID
    is_put_off: bool
    """It is due later than now."""


class QueueCounts(Struct, frozen=True, kw_only=True):
    """Emails by state."""

    waiting: int
    claimed: int
    handing_over: int
    held: int
    ambiguous: int
    incomplete: frozenset[str] = frozenset()
    """States of which there may be more: counting stopped at its limit."""


async def list_queue(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    *,
    state: QueueState | None = None,
    limit: int,
    after: UUID | None = None,
    email_id: UUID | None = None,
) -> QueuePage:
    """What waits or is under way, the email first that was accepted first.

    email_id narrows it to one email. limit is 1 to MAX_PAGE. Where many rows of the other mode
    stand in between, a page has fewer emails, or none, and yet names where the next one begins.
    """
    rows = _rows(tenant_id, state, after)
    if email_id is not None:
        rows = rows.where(QueueRow.email_id == email_id)
    looked_at = first_rows(rows, _LOOK)
    emails = _emails(tenant_id, mode, looked_at)
    found = await find_page(session, looked_at, _LOOK, emails, min(limit, MAX_PAGE))
    return QueuePage(tuple(map(_queued, found.rows)), found.after)


async def find_turn(session: AsyncSession, tenant_id: UUID, email_id: UUID) -> Turn | None:
    """The turn of an email in the queue; None where nobody is left to send it to."""
    statement = (
        select(
            QueueRow.lane,
            Email.domain_id,
            ((QueueRow.state == "waiting") & (QueueRow.due_at > func.now())).label("is_put_off"),
        )
        .join(Email, (Email.tenant_id == QueueRow.tenant_id) & (Email.id == QueueRow.email_id))
        .where(QueueRow.tenant_id == tenant_id, QueueRow.email_id == email_id)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        return None
    return Turn(
        lane=Lane(row.lane),
        domain_id=row.domain_id,
        is_put_off=row.is_put_off,
    )


async def count_queue(session: AsyncSession, tenant_id: UUID, mode: Mode) -> QueueCounts:
    """Emails of a mode by state; of each state it looks at COUNT_LIMIT rows of both modes."""
    counts: dict[str, int] = {}
    incomplete: set[str] = set()
    for state in STATES:
        looked_at = _rows(tenant_id, state, None).limit(COUNT_LIMIT).subquery()
        counted = (
            select(func.count(), func.count().filter(Email.mode == mode))
            .select_from(looked_at)
            .join(Email, (Email.tenant_id == tenant_id) & (Email.id == looked_at.c.email_id))
        )
        of_both, counts[state] = (await session.execute(counted)).one()
        if of_both == COUNT_LIMIT:
            incomplete.add(state)
    return QueueCounts(**counts, incomplete=frozenset(incomplete))


def _rows(
    tenant_id: UUID, state: QueueState | None, after: UUID | None
) -> Select[UUID, str, str, dt.datetime, int]:
    statement = select(
        QueueRow.email_id, QueueRow.state, QueueRow.lane, QueueRow.due_at, QueueRow.attempt
    ).where(QueueRow.tenant_id == tenant_id)
    if state is not None:
        statement = statement.where(*_is_in(state))
    return statement if after is None else statement.where(QueueRow.email_id > after)


def _is_in(state: QueueState) -> tuple[ColumnElement[bool], ...]:
    # As a word of the statement: a partial index serves no parameter.
    is_so: ColumnElement[bool] = QueueRow.state == literal_column(f"'{state}'")
    if state in ("claimed", "handing_over"):
        return is_so, QueueRow.worker_id.is_not(None)
    return (is_so,)


# Any: the columns of a row.
def _emails(tenant_id: UUID, mode: Mode, looked_at: CTE) -> Select[Any]:
    first = (
        select(Recipient.address)
        .where(Recipient.tenant_id == tenant_id, Recipient.email_id == looked_at.c.email_id)
        .order_by(Recipient.id)
        .limit(1)
        .scalar_subquery()
    )
    count = (
        select(func.count())
        .where(Recipient.tenant_id == tenant_id, Recipient.email_id == looked_at.c.email_id)
        .scalar_subquery()
    )
    return (
        select(
            looked_at,
            Email.created_at,
            Email.status,
            Email.stream,
            Email.subject,
            first.label("first_recipient"),
            count.label("recipient_count"),
        )
        .join(Email, (Email.tenant_id == tenant_id) & (Email.id == looked_at.c.email_id))
        .where(Email.mode == mode)
        .order_by(looked_at.c.email_id)
    )


# Any: a row of `_emails`.
def _queued(row: Any) -> QueuedEmail:
    return QueuedEmail(
        email_id=row.email_id,
        state=row.state,
        lane=Lane(row.lane),
        due_at=row.due_at,
        attempt=row.attempt,
        accepted_at=row.created_at,
        status=RecipientStatus(row.status),
        stream=row.stream,
        subject=row.subject,
        first_recipient=row.first_recipient,
        recipient_count=row.recipient_count,
    )
