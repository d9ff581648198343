"""What a subscriber to events is, for those who write one; see docs/plugins.md.

A subscriber is a class under the entry point group `tallypost.events`. A worker makes one of it,
and tells it of each event that was stored.
"""

import datetime as dt
from typing import Any, ClassVar, Final, Protocol
from uuid import UUID

from msgspec import Struct

from tallypost_core.errors import AppError

CLOSE_LIMIT_S: Final = 3.0
"""Time that a subscriber gets to close."""


class StoredEvent(Struct, frozen=True, kw_only=True):
    """Something that happened, as it is stored."""

    id: UUID
    """The same each time that the event comes."""
    tenant_id: UUID
    mode: str
    """`live` or `test`."""
    type: str
    """In the past tense, such as `email.sent`. More of them come with later releases."""
    subject_id: UUID
    """The email that it happened to."""
    recipient_id: UUID | None
    """The recipient, where it happened to one of them."""
    data: dict[str, Any]
    """What else is known, by words that depend on the type."""
    created_at: dt.datetime


class SubscriberMisconfigured(AppError):
    """A subscriber's settings contradict each other, or it cannot be used at all."""

    code: ClassVar[str] = "subscriber_misconfigured"


class Subscriber(Protocol):
    """Is told of events, in a thread with an event loop of its own.

    The class has these besides: `settings`, a frozen msgspec Struct, and a constructor that takes
    one of it. The constructor raises SubscriberMisconfigured where settings contradict each other.
    """

    name: ClassVar[str]
    """As its entry point has it."""

    async def handle(self, event: StoredEvent) -> None:
        """Take note of one event; it is not told again once this returns.

        Several run at a time. Any exception, and more time than TALLYPOST_SUBSCRIBER_TIMEOUT_S,
        let the event come again later. It may also come again after all went well, under its id.
        """

    async def close(self) -> None:
        """Give back what is open, within CLOSE_LIMIT_S; no event is under way any more."""
