"""Emails as they are read back."""

import datetime as dt
from collections.abc import Mapping
from typing import Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from tallypost_domain.emails.lifecycle import RecipientStatus, last_event
from tallypost_domain.emails.models import Email, EmailContent, Recipient
from tallypost_domain.emails.types import ASKED, LOOK_UP, RecipientKind, Tag
from tallypost_providers.types import Mode, Outcome, message_id
from tallypost_telemetry.trace_contexts import trace_id_of

T = TypeVar("T")


class Page(Struct, Generic[T], frozen=True):
    """One page of a list, and whether more follows in the direction that was asked for."""

    items: tuple[T, ...]
    has_more: bool


class RecipientView(Struct, frozen=True):
    """One recipient and where it stands."""

    id: UUID
    address: str
    kind: RecipientKind
    status: RecipientStatus
    detail: str | None
    updated_at: dt.datetime


class EmailView(Struct, frozen=True, kw_only=True):
    """One email; bodies and recipients are filled where a single one is read."""

    id: UUID
    mode: Mode
    message_id: str
    from_header: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]
    subject: str
    html: str | None
    text: str | None
    status: RecipientStatus
    last_event: str
    stream: str
    scheduled_at: dt.datetime | None
    created_at: dt.datetime
    tags: tuple[Tag, ...]
    recipients: tuple[RecipientView, ...]
    trace_id: str | None
    """32 hexadecimal digits; None where the request was not sampled."""


class AttemptView(Struct, frozen=True, kw_only=True):
    """One handover to a provider, or one look-up there."""

    id: UUID
    attempt: int
    """Its round: the handovers of one go to one account after the other."""
    provider: str
    account: str
    outcome: str
    is_late: bool
    phase: str
    recipients: tuple[Mapping[str, object], ...]
    """For each recipient: `recipient_id`, `outcome` and the provider's words."""
    evidence: Mapping[str, object]
    provider_message_id: str | None
    duration_s: float
    created_at: dt.datetime

    @property
    def is_look_up(self) -> bool:
        """Whether nothing was handed over: it is about what the provider took before."""
        return self.phase == LOOK_UP

    @property
    def was_asked(self) -> bool:
        """Whether the provider was asked, where this is a look-up."""
        return self.evidence.get(ASKED) != "no"

    def is_followed_at_once_by(self, following: "AttemptView") -> bool:
        """Whether the next handover belongs to the same round: another account was asked."""
        return (
            following.attempt == self.attempt
            and following.account != self.account
            and Outcome(self.outcome).may_fail_over
        )


class EventView(Struct, frozen=True):
    """Something that happened to an email or to one of its recipients."""

    id: UUID
    type: str
    recipient_id: UUID | None
    data: Mapping[str, object]
    created_at: dt.datetime


def email_view(
    email: Email, content: EmailContent | None = None, recipients: tuple[Recipient, ...] = ()
) -> EmailView:
    """Shape rows for reading; content is None in lists, which carry no bodies."""
    status = RecipientStatus(email.status)
    return EmailView(
        id=email.id,
        mode="live" if email.mode == "live" else "test",
        message_id=message_id(email.id, email.from_address.rpartition("@")[2]),
        from_header=email.from_header,
        to=tuple(email.to_header),
        cc=tuple(email.cc_header),
        bcc=tuple(email.bcc_header),
        reply_to=tuple(email.reply_to),
        subject=email.subject,
        html=content.html if content else None,
        text=content.text if content else None,
        status=status,
        last_event=last_event(status),
        stream=email.stream,
        scheduled_at=email.scheduled_at,
        created_at=email.created_at,
        tags=tuple(Tag(tag["name"], tag["value"]) for tag in email.tags),
        recipients=tuple(_recipient_view(recipient) for recipient in recipients),
        trace_id=trace_id_of(email.trace_context),
    )


def _recipient_view(recipient: Recipient) -> RecipientView:
    kind: RecipientKind = (
        "to" if recipient.kind == "to" else "cc" if recipient.kind == "cc" else "bcc"
    )
    return RecipientView(
        id=recipient.id,
        address=recipient.address,
        kind=kind,
        status=RecipientStatus(recipient.status),
        detail=recipient.detail,
        updated_at=recipient.updated_at,
    )
