"""Messages of the Inbox as other parts see them."""

import datetime as dt
from uuid import UUID

from msgspec import Struct

from tallypost_providers.types import Mode


class Header(Struct, frozen=True):
    """One header field, unfolded, not decoded."""

    name: str
    value: str


class MessageSummary(Struct, frozen=True, kw_only=True):
    """A stored message without its bytes."""

    id: UUID
    email_id: UUID
    mode: Mode
    envelope_sender: str
    envelope_recipients: tuple[str, ...]
    subject: str
    size_bytes: int
    received_at: dt.datetime


class StoredMessage(Struct, frozen=True):
    """A stored message: what is known about it, and its bytes exactly as they came."""

    summary: MessageSummary
    message: bytes


class MessagePage(Struct, frozen=True):
    """Messages, newest first."""

    items: tuple[MessageSummary, ...]
    has_more: bool
    """True where older ones follow."""


class MessagePart(Struct, frozen=True):
    """An attachment or an inline part, decoded."""

    filename: str | None
    content_type: str
    content_id: str | None
    """Without angle brackets."""
    body: bytes
    """Empty for a message inside the message."""


class MessageContents(Struct, frozen=True):
    """What a person sees of a message."""

    headers: tuple[Header, ...]
    """Decoded for reading; in the order of the message."""
    text: str | None
    html: str | None
    parts: tuple[MessagePart, ...]
    """Everything that is not a body."""
