"""Everything that happened to one email."""

from uuid import UUID

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.emails.errors import EmailNotFound
from tallypost_domain.emails.models import Email, Recipient
from tallypost_domain.emails.service import list_attempts, list_events
from tallypost_domain.emails.views import AttemptView, EmailView, EventView, email_view
from tallypost_providers.types import Mode


class Timeline(Struct, frozen=True):
    """An email with all that is on record about it, the oldest first."""

    email: EmailView
    """With its recipients, and without bodies: those may be large, and tell nothing here."""
    events: tuple[EventView, ...]
    attempts: tuple[AttemptView, ...]


async def get_timeline(
    session: AsyncSession, tenant_id: UUID, mode: Mode, email_id: UUID
) -> Timeline:
    """What happened to an email so far; raises EmailNotFound."""
    email = await session.scalar(
        select(Email).where(Email.tenant_id == tenant_id, Email.id == email_id, Email.mode == mode)
    )
    if email is None:
        raise EmailNotFound
    recipients = await session.scalars(
        select(Recipient)
        .where(Recipient.tenant_id == tenant_id, Recipient.email_id == email_id)
        .order_by(Recipient.id)
    )
    return Timeline(
        email_view(email, None, tuple(recipients)),
        await list_events(session, tenant_id, email_id),
        await list_attempts(session, tenant_id, email_id),
    )
