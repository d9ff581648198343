"""Turns a valid email into the rows that store it; pure, apart from the ids it makes."""

import base64
import datetime as dt
from collections.abc import Iterator
from uuid import UUID

from msgspec import Struct

from tallypost_core.ids import new_id
from tallypost_domain.emails.attachments import INLINE_LIMIT_BYTES, StoredAttachment
from tallypost_domain.emails.lifecycle import RecipientStatus, roll_up
from tallypost_domain.emails.senders import Origin
from tallypost_domain.emails.types import Address, NewEmail, RecipientKind, Sender
from tallypost_domain.suppressions.service import normalise


class RecipientRow(Struct, frozen=True):
    """One recipient to insert."""

    id: UUID
    kind: RecipientKind
    address: str
    status: RecipientStatus


class EmailRows(Struct, frozen=True, kw_only=True):
    """One email to insert, with everything that belongs to it."""

    id: UUID
    sender: Sender
    origin: Origin
    email: NewEmail
    status: RecipientStatus
    scheduled_at: dt.datetime | None
    recipients: tuple[RecipientRow, ...]
    attachments: tuple[StoredAttachment, ...]

    @property
    def is_sendable(self) -> bool:
        """True where at least one recipient is not suppressed."""
        return self.status is not RecipientStatus.SUPPRESSED


def build_rows(
    email_id: UUID,
    sender: Sender,
    origin: Origin,
    email: NewEmail,
    *,
    suppressed: frozenset[str],
    now: dt.datetime,
) -> EmailRows:
    """Rows of one email; `suppressed` are the normalised addresses that must not get it."""
    scheduled_at = email.scheduled_at if email.scheduled_at and email.scheduled_at > now else None
    waiting = RecipientStatus.SCHEDULED if scheduled_at else RecipientStatus.QUEUED
    recipients = tuple(
        RecipientRow(
            id=new_id(),
            kind=kind,
            address=address.address,
            status=RecipientStatus.SUPPRESSED
            if normalise(address.address) in suppressed
            else waiting,
        )
        for kind, address in distinct_recipients(email)
    )
    return EmailRows(
        id=email_id,
        sender=sender,
        origin=origin,
        email=email,
        status=roll_up(recipient.status for recipient in recipients),
        scheduled_at=scheduled_at,
        recipients=recipients,
        attachments=tuple(store_attachments(email_id, sender.tenant_id, email)),
    )


def distinct_recipients(email: NewEmail) -> Iterator[tuple[RecipientKind, Address]]:
    """Each mailbox once, though it may stand in several fields; `to` goes before `cc`, `bcc`."""
    seen: set[str] = set()
    fields: tuple[tuple[RecipientKind, tuple[Address, ...]], ...] = (
        ("to", email.to),
        ("cc", email.cc),
        ("bcc", email.bcc),
    )
    for kind, addresses in fields:
        for address in addresses:
            if normalise(address.address) not in seen:
                seen.add(normalise(address.address))
                yield kind, address


def store_attachments(
    email_id: UUID, tenant_id: UUID, email: NewEmail
) -> Iterator[StoredAttachment]:
    """How each attachment is kept: in the row, or under a key of the object store."""
    for position, attachment in enumerate(email.attachments):
        is_large = len(attachment.body) > INLINE_LIMIT_BYTES
        yield StoredAttachment(
            filename=attachment.filename,
            content_type=attachment.content_type,
            size_bytes=len(attachment.body),
            content_id=attachment.content_id,
            body=None if is_large else base64.b64encode(attachment.body).decode(),
            object_key=f"{tenant_id}/{email_id}/{position}" if is_large else None,
        )
