"""SQL about messages of the Inbox, for reading."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.inbox.models import InboxMessage
from tallypost_domain.inbox.types import MessageSummary, StoredMessage
from tallypost_providers.types import Mode

_SUMMARY = (
    InboxMessage.id,
    InboxMessage.email_id,
    InboxMessage.mode,
    InboxMessage.envelope_sender,
    InboxMessage.envelope_recipients,
    InboxMessage.subject,
    InboxMessage.size_bytes,
    InboxMessage.received_at,
)


async def list_summaries(
    session: AsyncSession,
    tenant_id: UUID,
    *,
    mode: Mode | None,
    email_id: UUID | None,
    after: UUID | None,
    limit: int,
) -> list[MessageSummary]:
    """At most `limit` messages, newest first, older than `after`; without their bytes."""
    statement = (
        select(*_SUMMARY)
        .where(InboxMessage.tenant_id == tenant_id)
        .order_by(InboxMessage.id.desc())
        .limit(limit)
    )
    if mode is not None:
        statement = statement.where(InboxMessage.mode == mode)
    if email_id is not None:
        statement = statement.where(InboxMessage.email_id == email_id)
    if after is not None:
        statement = statement.where(InboxMessage.id < after)
    return [_summary(row) for row in await session.execute(statement)]


async def find_message(
    session: AsyncSession, tenant_id: UUID, message_id: UUID
) -> StoredMessage | None:
    """One message with its bytes; None where the tenant has none of that id."""
    statement = select(*_SUMMARY, InboxMessage.message).where(
        InboxMessage.tenant_id == tenant_id, InboxMessage.id == message_id
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else StoredMessage(_summary(row), row.message)


# Any: a row that begins with the columns of _SUMMARY.
def _summary(row: Any) -> MessageSummary:
    return MessageSummary(
        id=row.id,
        email_id=row.email_id,
        mode=row.mode,
        envelope_sender=row.envelope_sender,
        envelope_recipients=tuple(row.envelope_recipients),
        subject=row.subject,
        size_bytes=row.size_bytes,
        received_at=row.received_at,
    )
