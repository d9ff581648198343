"""What passes between the database and whoever feeds subscribers."""

import datetime as dt
from typing import Final
from uuid import UUID

from msgspec import Struct

from tallypost_core.plugin_events import StoredEvent

AMONG_OTHERS: Final = "among_others"
ALONE: Final = "alone"

COUNT_LIMIT: Final = 100_000
"""Counting stops here."""

WORKER_LOST: Final = "WorkerLost"
"""The kind of error of an event whose last attempts have ended with their workers."""


class DeliveryKey(Struct, frozen=True):
    """Names one event for one subscriber."""

    tenant_id: UUID
    subject_id: UUID
    event_id: UUID


class EventClaim(Struct, frozen=True):
    """An event that this worker may tell a subscriber of, until lease_until_at."""

    key: DeliveryKey
    attempt: int
    """Counts from 1, this one included."""
    lease_until_at: dt.datetime
    """Tells this claim from a later one."""
    event: StoredEvent | None
    """None where it is not stored any more."""
    lost_as: str | None = None
    """AMONG_OTHERS or ALONE: how the attempt before began, where it ended with its worker."""


class ClaimedEvents(Struct, frozen=True):
    """What a worker may tell a subscriber of, several at a time."""

    claims: tuple[EventClaim, ...] = ()
    may_be_more: bool = False
    """Whether more may be due now."""
    is_lost_next: bool = False
    """Whether the longest waiting of the rest has ended with a worker, and is to be fed alone."""


class FailedDelivery(Struct, frozen=True):
    """An attempt that did not succeed."""

    claim: EventClaim
    error: str | None
    """Kind of the error; None where nothing was attempted, which is then not counted."""
    retry_in_s: float | None
    """None gives the event up."""


class SubscriberState(Struct, frozen=True):
    """How a subscriber does, over all tenants."""

    name: str
    seen_ago_s: float | None
    """Since a worker last named it; None once it is being forgotten."""
    is_hanging: bool
    """In one of the workers it does not come back from an event."""
    waiting: int
    dead: int
    last_error: str | None
    """Kind of the error of the last event that was given up."""
