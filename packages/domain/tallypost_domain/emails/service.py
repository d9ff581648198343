"""Reading, rescheduling and cancelling emails."""

import datetime as dt
from typing import cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.ids import new_id
from tallypost_domain.emails.errors import EmailNotFound, EmailNotScheduled
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.models import Attempt, Email, EmailContent, QueueRow, Recipient
from tallypost_domain.emails.views import AttemptView, EmailView, EventView, Page, email_view
from tallypost_domain.events.models import Event
from tallypost_providers.types import Mode

MAX_PAGE = 100


async def get_email(
    session: AsyncSession, tenant_id: UUID, mode: Mode, email_id: UUID
) -> EmailView:
    """One email with bodies and recipients; raises EmailNotFound."""
    email = await _get_row(session, tenant_id, mode, email_id)
    content = await session.scalar(
        select(EmailContent).where(
            EmailContent.tenant_id == tenant_id, EmailContent.email_id == email_id
        )
    )
    recipients = await session.scalars(
        select(Recipient)
        .where(Recipient.tenant_id == tenant_id, Recipient.email_id == email_id)
        .order_by(Recipient.id)
    )
    return email_view(email, content, tuple(recipients))


async def list_emails(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    *,
    limit: int,
    after: UUID | None = None,
    before: UUID | None = None,
) -> Page[EmailView]:
    """A page of emails, newest first, without bodies.

    after continues below an id, before returns what is newer than one; limit is 1 to MAX_PAGE.
    """
    limit = min(limit, MAX_PAGE)
    statement = select(Email).where(Email.tenant_id == tenant_id, Email.mode == mode)
    if before is not None:
        statement = statement.where(Email.id > before).order_by(Email.id.asc())
    else:
        statement = statement.order_by(Email.id.desc())
        if after is not None:
            statement = statement.where(Email.id < after)
    rows = list(await session.scalars(statement.limit(limit + 1)))
    has_more = len(rows) > limit
    page = rows[:limit]
    if before is not None:
        page.reverse()
    return Page(items=tuple(email_view(row) for row in page), has_more=has_more)


async def list_attempts(
    session: AsyncSession, tenant_id: UUID, email_id: UUID
) -> tuple[AttemptView, ...]:
    """All handovers of an email, first to last."""
    rows = await session.scalars(
        select(Attempt)
        .where(Attempt.tenant_id == tenant_id, Attempt.email_id == email_id)
        .order_by(Attempt.created_at, Attempt.id)
    )
    return tuple(
        AttemptView(
            id=row.id,
            attempt=row.attempt,
            provider=row.provider,
            account=row.account,
            outcome=row.outcome,
            is_late=row.is_late,
            phase=row.phase,
            recipients=tuple(row.recipients),
            evidence=row.evidence,
            provider_message_id=row.provider_message_id,
            duration_s=row.duration_s,
            created_at=row.created_at,
        )
        for row in rows
    )


async def list_events(
    session: AsyncSession, tenant_id: UUID, email_id: UUID
) -> tuple[EventView, ...]:
    """Everything that happened to an email, first to last."""
    rows = await session.scalars(
        select(Event)
        .where(Event.tenant_id == tenant_id, Event.subject_id == email_id)
        .order_by(Event.created_at, Event.id)
    )
    return tuple(
        EventView(
            id=row.id,
            type=row.type,
            recipient_id=row.recipient_id,
            data=row.data,
            created_at=row.created_at,
        )
        for row in rows
    )


async def reschedule(
    session: AsyncSession, tenant_id: UUID, mode: Mode, email_id: UUID, scheduled_at: dt.datetime
) -> None:
    """Move a scheduled email to another time; a past one makes it due at once.

    One conditional statement on the queue row decides the race against a worker's claim. Raises
    EmailNotFound, EmailNotScheduled.
    """
    await _get_row(session, tenant_id, mode, email_id)
    moved = await session.execute(
        update(QueueRow).where(*_is_scheduled(tenant_id, email_id)).values(due_at=scheduled_at)
    )
    if cast("CursorResult[object]", moved).rowcount == 0:
        raise EmailNotScheduled(field="scheduled_at")
    await session.execute(
        update(Email)
        .where(Email.tenant_id == tenant_id, Email.id == email_id)
        .values(scheduled_at=scheduled_at, updated_at=func.now())
    )
    await _record_event(session, tenant_id, mode, email_id, "email.rescheduled")


async def cancel(session: AsyncSession, tenant_id: UUID, mode: Mode, email_id: UUID) -> None:
    """Take a scheduled email back; nothing of it is sent.

    Raises EmailNotFound, and EmailNotScheduled once a worker has it or it was canceled before.
    """
    await _get_row(session, tenant_id, mode, email_id)
    taken = await session.execute(delete(QueueRow).where(*_is_scheduled(tenant_id, email_id)))
    if cast("CursorResult[object]", taken).rowcount == 0:
        raise EmailNotScheduled()
    await session.execute(
        update(Email)
        .where(Email.tenant_id == tenant_id, Email.id == email_id)
        .values(status=RecipientStatus.CANCELED.value, updated_at=func.now())
    )
    await session.execute(
        update(Recipient)
        .where(
            Recipient.tenant_id == tenant_id,
            Recipient.email_id == email_id,
            Recipient.status == RecipientStatus.SCHEDULED.value,
        )
        .values(status=RecipientStatus.CANCELED.value, updated_at=func.now())
    )
    await _record_event(session, tenant_id, mode, email_id, "email.canceled")


async def _get_row(session: AsyncSession, tenant_id: UUID, mode: Mode, email_id: UUID) -> Email:
    email = await session.scalar(
        select(Email).where(Email.tenant_id == tenant_id, Email.id == email_id, Email.mode == mode)
    )
    if email is None:
        raise EmailNotFound()
    return email


def _is_scheduled(tenant_id: UUID, email_id: UUID) -> tuple[ColumnElement[bool], ...]:
    scheduled = (
        select(Email.id)
        .where(
            Email.tenant_id == tenant_id,
            Email.id == email_id,
            Email.status == RecipientStatus.SCHEDULED.value,
        )
        .exists()
    )
    return (
        QueueRow.tenant_id == tenant_id,
        QueueRow.email_id == email_id,
        QueueRow.state == "waiting",
        scheduled,
    )


async def _record_event(
    session: AsyncSession, tenant_id: UUID, mode: Mode, email_id: UUID, type_: str
) -> None:
    await session.execute(
        insert(Event).values(
            tenant_id=tenant_id, subject_id=email_id, id=new_id(), mode=mode, type=type_, data={}
        )
    )
