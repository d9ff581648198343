"""The message of an email for people who look at it, from the rows that the worker makes it of.

Rows are read in a transaction, attachments are fetched after it. What is built here is not signed:
the worker puts the DKIM-Signature fields in front of the same bytes.
"""

import base64
import datetime as dt
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.object_store import ObjectNotFound, ObjectStore
from tallypost_domain.emails.attachments import MAX_ATTACHMENTS, StoredAttachment
from tallypost_domain.emails.errors import AttachmentGone, AttachmentNotFound, EmailNotFound
from tallypost_domain.emails.models import Email, EmailContent
from tallypost_domain.emails.types import Tag
from tallypost_providers.types import Attachment, Mode, OutgoingEmail

# A hundred attachments may have 25 MB of base64 in the row, which whoever lists them need not see.
_WITHOUT_BODIES = literal_column(
    "(SELECT coalesce(jsonb_agg(a.value - 'body' ORDER BY a.position), '[]')"
    " FROM jsonb_array_elements(email_contents.attachments)"
    " WITH ORDINALITY AS a (value, position))",
    JSONB,
).label("attachments")


class EmailSource(Struct, frozen=True, kw_only=True):
    """An email's rows as far as its message, or another email like it, is made of them."""

    tenant_id: UUID
    email_id: UUID
    mode: Mode
    api_key_id: UUID
    stream: str
    created_at: dt.datetime
    from_header: str
    from_address: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    """As the tenant wrote them; no message shows them."""
    reply_to: tuple[str, ...]
    subject: str
    html: str | None
    text: str | None
    headers: dict[str, str]
    tags: tuple[Tag, ...]
    attachments: tuple[StoredAttachment, ...]


class AttachmentView(Struct, frozen=True, kw_only=True):
    """An attachment as it is listed; `get_attachment` takes the index."""

    index: int
    filename: str
    content_type: str
    size_bytes: int
    content_id: str | None


async def load_source(session: AsyncSession, tenant_id: UUID, email_id: UUID) -> EmailSource:
    """The rows of one email, of either mode; up to 40 MB. Raises EmailNotFound."""
    return await _load(session, tenant_id, email_id, EmailContent.attachments)


async def load_outline(session: AsyncSession, tenant_id: UUID, email_id: UUID) -> EmailSource:
    """As `load_source`, with attachments that have no body: enough for `outline`."""
    return await _load(session, tenant_id, email_id, _WITHOUT_BODIES)


async def assemble(objects: ObjectStore, source: EmailSource) -> OutgoingEmail:
    """The email as a provider takes it, but addressed to nobody and without keys to sign with.

    Written as MIME it is what every copy of it looks like under its signature. Raises
    AttachmentGone, ObjectStoreUnavailable.
    """
    return _outgoing(source, await fetch_attachments(objects, source.attachments))


def outline(source: EmailSource) -> OutgoingEmail:
    """As `assemble`, with empty attachments: the head of its message is the same."""
    attachments = tuple(_with_body(stored, b"") for stored in source.attachments)
    return _outgoing(source, attachments)


async def list_attachments(
    session: AsyncSession, tenant_id: UUID, email_id: UUID
) -> tuple[AttachmentView, ...]:
    """The attachments of an email in their order. Raises EmailNotFound."""
    rows = await _read(session, tenant_id, email_id, _WITHOUT_BODIES)
    return tuple(
        AttachmentView(
            index=index,
            filename=stored.filename,
            content_type=stored.content_type,
            size_bytes=stored.size_bytes,
            content_id=stored.content_id,
        )
        for index, stored in enumerate(msgspec.convert(rows, tuple[StoredAttachment, ...]))
    )


async def get_attachment(
    session: AsyncSession, tenant_id: UUID, email_id: UUID, index: int
) -> StoredAttachment:
    """One attachment of an email; its body may be in the object store.

    Raises EmailNotFound, AttachmentNotFound.
    """
    if not 0 <= index < MAX_ATTACHMENTS:
        raise AttachmentNotFound
    row = await _read(session, tenant_id, email_id, EmailContent.attachments[index])
    if row is None:
        raise AttachmentNotFound
    return msgspec.convert(row, StoredAttachment)


async def fetch_attachments(
    objects: ObjectStore, attachments: Sequence[StoredAttachment]
) -> tuple[Attachment, ...]:
    """Attachments with their bodies. Raises AttachmentGone, ObjectStoreUnavailable."""
    try:
        return tuple([await fetch_attachment(objects, stored) for stored in attachments])
    except ObjectNotFound as error:
        raise AttachmentGone from error


async def fetch_attachment(objects: ObjectStore, stored: StoredAttachment) -> Attachment:
    """An attachment with its body. Raises ObjectNotFound, ObjectStoreUnavailable."""
    if stored.object_key is not None:
        body = await objects.get(stored.object_key)
    else:
        body = base64.b64decode(stored.body or "")
    return _with_body(stored, body)


async def _load(
    session: AsyncSession,
    tenant_id: UUID,
    email_id: UUID,
    # Any: a column and an expression have no closer type in common.
    attachments: Any,
) -> EmailSource:
    found = await session.execute(
        select(Email, EmailContent.html, EmailContent.text, attachments)
        .join(
            EmailContent,
            (EmailContent.tenant_id == Email.tenant_id) & (EmailContent.email_id == Email.id),
        )
        .where(Email.tenant_id == tenant_id, Email.id == email_id)
    )
    row = found.one_or_none()
    if row is None:
        raise EmailNotFound
    email, html, text, stored = row
    return EmailSource(
        tenant_id=email.tenant_id,
        email_id=email.id,
        mode=cast("Mode", email.mode),
        api_key_id=email.api_key_id,
        stream=email.stream,
        created_at=email.created_at,
        from_header=email.from_header,
        from_address=email.from_address,
        to=tuple(email.to_header),
        cc=tuple(email.cc_header),
        bcc=tuple(email.bcc_header),
        reply_to=tuple(email.reply_to),
        subject=email.subject,
        html=html,
        text=text,
        headers=email.headers,
        tags=msgspec.convert(email.tags, tuple[Tag, ...]),
        attachments=msgspec.convert(stored, tuple[StoredAttachment, ...]),
    )


async def _read(
    session: AsyncSession, tenant_id: UUID, email_id: UUID, column: ColumnElement[Any]
) -> object:
    # Any: JSON of whatever shape the column has.
    found = await session.execute(
        select(column)
        .select_from(EmailContent)
        .where(EmailContent.tenant_id == tenant_id, EmailContent.email_id == email_id)
    )
    row = found.one_or_none()
    if row is None:
        raise EmailNotFound
    return row[0]


def _outgoing(source: EmailSource, attachments: tuple[Attachment, ...]) -> OutgoingEmail:
    return OutgoingEmail(
        tenant_id=source.tenant_id,
        email_id=source.email_id,
        mode=source.mode,
        created_at=source.created_at,
        from_header=source.from_header,
        envelope_sender=source.from_address,
        to=source.to,
        cc=source.cc,
        reply_to=source.reply_to,
        subject=source.subject,
        html=source.html,
        text=source.text,
        headers=source.headers,
        attachments=attachments,
        recipients=(),
        dkim_keys=(),
        tags={tag.name: tag.value for tag in source.tags},
    )


def _with_body(stored: StoredAttachment, body: bytes) -> Attachment:
    return Attachment(
        filename=stored.filename,
        content_type=stored.content_type,
        body=body,
        content_id=stored.content_id,
    )
