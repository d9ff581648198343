"""The bodies of successful answers about emails, as Resend's clients read them.

None of them has a `statusCode`: the Python client takes that for an error.
"""

import datetime as dt
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType, field

from tallypost_domain.emails.types import Acceptance, BatchError, Tag
from tallypost_domain.emails.views import EmailView, Page


class EmailRef(Struct, frozen=True):
    """The id of an email that was accepted."""

    id: UUID


class ChangedEmail(Struct, frozen=True):
    """The id of an email that was changed."""

    id: UUID
    object: str = "email"


class AcceptedBatch(Struct, frozen=True):
    """The ids of a batch, in the order of the request, and in permissive mode what was left out."""

    data: tuple[EmailRef, ...]
    errors: tuple[BatchError, ...] | UnsetType = UNSET


class EmailAnswer(Struct, frozen=True, kw_only=True):
    """An email; one in a list has no bodies."""

    object: str = "email"
    id: UUID
    message_id: str
    to: tuple[str, ...]
    from_: str = field(name="from")
    created_at: dt.datetime
    subject: str
    html: str | UnsetType | None = UNSET
    text: str | UnsetType | None = UNSET
    bcc: tuple[str, ...]
    cc: tuple[str, ...]
    reply_to: tuple[str, ...]
    last_event: str
    scheduled_at: dt.datetime | None
    tags: tuple[Tag, ...]


class EmailList(Struct, frozen=True):
    """A page of emails, newest first."""

    data: tuple[EmailAnswer, ...]
    has_more: bool
    object: str = "list"


def accepted_batch(acceptance: Acceptance, *, strict: bool) -> AcceptedBatch:
    """Shape the answer to a batch."""
    return AcceptedBatch(
        tuple(EmailRef(id_) for id_ in acceptance.ids),
        UNSET if strict else acceptance.errors,
    )


def email_answer(view: EmailView, *, with_bodies: bool) -> EmailAnswer:
    """Shape one email."""
    return EmailAnswer(
        id=view.id,
        message_id=view.message_id,
        to=view.to,
        from_=view.from_header,
        created_at=view.created_at,
        subject=view.subject,
        html=view.html if with_bodies else UNSET,
        text=view.text if with_bodies else UNSET,
        bcc=view.bcc,
        cc=view.cc,
        reply_to=view.reply_to,
        last_event=view.last_event,
        scheduled_at=view.scheduled_at,
        tags=view.tags,
    )


def email_list(page: Page[EmailView]) -> EmailList:
    """Shape a page."""
    return EmailList(
        tuple(email_answer(view, with_bodies=False) for view in page.items), page.has_more
    )
