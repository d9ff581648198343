"""Turns a valid email into what is stored of it; pure, apart from the ids it makes."""

import base64
import datetime as dt
from collections.abc import Collection, Iterator
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from tallypost_core.crypto import KeyRing
from tallypost_core.ids import new_id
from tallypost_domain.emails.attachments import INLINE_LIMIT_BYTES, StoredAttachment
from tallypost_domain.emails.lifecycle import RecipientStatus, roll_up
from tallypost_domain.emails.senders import Origin
from tallypost_domain.emails.types import Address, NewEmail, RecipientKind
from tallypost_domain.emails.validation import size_bytes
from tallypost_domain.suppressions.service import address_hashes, normalise


class Addressee(NamedTuple):
    """One recipient of an email on its way in."""

    id: UUID
    kind: RecipientKind
    address: str
    hashes: tuple[bytes, ...]
    """Under which its address may be suppressed."""


class Item(Struct, frozen=True, kw_only=True):
    """One email on its way in, under the ids that it will keep however often it is tried."""

    id: UUID
    email: NewEmail
    origin: Origin
    addressees: tuple[Addressee, ...]
    attachments: tuple[StoredAttachment, ...]
    size_bytes: int
    trace_context: str | None
    """Of the span that accepts it, where that is sampled."""


class EmailRows(NamedTuple):
    """An email with the statuses that it is stored with."""

    item: Item
    status: RecipientStatus
    scheduled_at: dt.datetime | None
    statuses: tuple[RecipientStatus, ...]
    """Of its addressees."""

    @property
    def is_sendable(self) -> bool:
        """True where at least one recipient is not suppressed."""
        return self.status is not RecipientStatus.SUPPRESSED

    @property
    def billable(self) -> int:
        """Recipients that it will be sent to."""
        return sum(status is not RecipientStatus.SUPPRESSED for status in self.statuses)


def build_item(
    tenant_id: UUID,
    origin: Origin,
    email: NewEmail,
    peppers: KeyRing,
    trace_context: str | None = None,
) -> Item:
    """Give an email its ids."""
    email_id = new_id()
    return Item(
        id=email_id,
        email=email,
        origin=origin,
        addressees=tuple(
            Addressee(new_id(), kind, to.address, tuple(address_hashes(peppers, to.address)))
            for kind, to in distinct_recipients(email)
        ),
        attachments=tuple(_stored_attachments(email_id, tenant_id, email))
        if email.attachments
        else (),
        size_bytes=size_bytes(email),
        trace_context=trace_context,
    )


def build_rows(item: Item, suppressed: Collection[bytes], *, now: dt.datetime) -> EmailRows:
    """Decide the statuses; `suppressed` are the hashes of addresses that must not get it."""
    scheduled_at = item.email.scheduled_at
    if scheduled_at is not None and scheduled_at <= now:
        scheduled_at = None
    waiting = RecipientStatus.SCHEDULED if scheduled_at else RecipientStatus.QUEUED
    if not suppressed:
        return EmailRows(item, waiting, scheduled_at, (waiting,) * len(item.addressees))
    statuses = tuple(
        RecipientStatus.SUPPRESSED if any(mark in suppressed for mark in to.hashes) else waiting
        for to in item.addressees
    )
    return EmailRows(item, roll_up(statuses), scheduled_at, statuses)


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
            mailbox = normalise(address.address)
            if mailbox not in seen:
                seen.add(mailbox)
                yield kind, address


def _stored_attachments(
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
