"""The life of a recipient as a pure table, and the roll-up of recipients to their email.

Pending states cycle. After `sent` the order is by rank: a lower rank that comes late is kept as
an event and changes nothing. `suppressed`, `failed` and `canceled` are other ends; only a
person's requeue leads back from `failed`. It also ends the wait of an `unconfirmed` recipient.
One that is `canceled` because somebody said that it had not arrived was sent after all where a
provider says so.
"""

import enum
from collections.abc import Iterable


class RecipientStatus(enum.StrEnum):
    """Where a recipient stands. That a handover is under way is the queue row's to say."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    HELD = "held"
    DEFERRED = "deferred"
    UNCONFIRMED = "unconfirmed"
    SENT = "sent"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    SUPPRESSED = "suppressed"
    FAILED = "failed"
    CANCELED = "canceled"


class RecipientEvent(enum.StrEnum):
    """What can happen to a recipient."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    UNCONFIRMED = "unconfirmed"
    HELD = "held"
    RELEASED = "released"
    SUPPRESSED = "suppressed"
    CANCELED = "canceled"
    GAVE_UP = "gave_up"
    REQUEUED = "requeued"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"


PENDING: frozenset[RecipientStatus] = frozenset(
    {
        RecipientStatus.SCHEDULED,
        RecipientStatus.QUEUED,
        RecipientStatus.HELD,
        RecipientStatus.DEFERRED,
        RecipientStatus.UNCONFIRMED,
    }
)
"""Still to be sent to, one way or another."""

_FROM_PENDING: dict[RecipientEvent, RecipientStatus] = {
    RecipientEvent.ACCEPTED: RecipientStatus.SENT,
    RecipientEvent.REJECTED: RecipientStatus.BOUNCED,
    RecipientEvent.DEFERRED: RecipientStatus.DEFERRED,
    RecipientEvent.UNCONFIRMED: RecipientStatus.UNCONFIRMED,
    RecipientEvent.HELD: RecipientStatus.HELD,
    RecipientEvent.RELEASED: RecipientStatus.QUEUED,
    RecipientEvent.SUPPRESSED: RecipientStatus.SUPPRESSED,
    RecipientEvent.CANCELED: RecipientStatus.CANCELED,
    RecipientEvent.GAVE_UP: RecipientStatus.FAILED,
    # Reports of a delivery that we did not see accepted settle an unconfirmed recipient.
    RecipientEvent.DELIVERED: RecipientStatus.DELIVERED,
    RecipientEvent.BOUNCED: RecipientStatus.BOUNCED,
    RecipientEvent.COMPLAINED: RecipientStatus.COMPLAINED,
}

# The message may have arrived. None of these says anything about that, so the recipient stays
# listed as it is.
NO_PROOF: frozenset[RecipientEvent] = frozenset(
    {RecipientEvent.HELD, RecipientEvent.SUPPRESSED, RecipientEvent.GAVE_UP}
)

# A provider has taken the message.
_PROOF: frozenset[RecipientEvent] = frozenset(
    {
        RecipientEvent.ACCEPTED,
        RecipientEvent.DELIVERED,
        RecipientEvent.BOUNCED,
        RecipientEvent.COMPLAINED,
    }
)

# Those that wait for a person.
_REQUEUEABLE = frozenset({RecipientStatus.FAILED, RecipientStatus.UNCONFIRMED})

_RANK: dict[RecipientStatus, int] = {
    RecipientStatus.SENT: 0,
    RecipientStatus.DELIVERED: 1,
    RecipientStatus.BOUNCED: 2,
    RecipientStatus.COMPLAINED: 3,
}

_REPORTS: dict[RecipientEvent, RecipientStatus] = {
    RecipientEvent.DELIVERED: RecipientStatus.DELIVERED,
    RecipientEvent.BOUNCED: RecipientStatus.BOUNCED,
    RecipientEvent.COMPLAINED: RecipientStatus.COMPLAINED,
}


def next_status(current: RecipientStatus, event: RecipientEvent) -> RecipientStatus:
    """The status after an event; the same status where the event is worth a record only."""
    if event is RecipientEvent.REQUEUED:
        return RecipientStatus.QUEUED if current in _REQUEUEABLE else current
    if current is RecipientStatus.UNCONFIRMED and event in NO_PROOF:
        return current
    if current in PENDING:
        # Released means that nothing holds it any more; other pending states were not held.
        if event is RecipientEvent.RELEASED and current is not RecipientStatus.HELD:
            return current
        # That the copy sent again has to wait says nothing about the one that may have arrived.
        if event is RecipientEvent.DEFERRED and current is RecipientStatus.UNCONFIRMED:
            return current
        return _FROM_PENDING[event]
    if current is RecipientStatus.CANCELED and event in _PROOF:
        return _FROM_PENDING[event]
    reported = _REPORTS.get(event)
    if reported is not None and current in _RANK and _RANK[reported] > _RANK[current]:
        return reported
    return current


# What an email shows when its recipients differ: the first of these that one of them has.
# Work still to do goes before ends, and trouble before success.
_ROLL_UP_ORDER: tuple[RecipientStatus, ...] = (
    RecipientStatus.UNCONFIRMED,
    RecipientStatus.DEFERRED,
    RecipientStatus.HELD,
    RecipientStatus.QUEUED,
    RecipientStatus.SCHEDULED,
    RecipientStatus.COMPLAINED,
    RecipientStatus.BOUNCED,
    RecipientStatus.FAILED,
    RecipientStatus.SENT,
    RecipientStatus.DELIVERED,
    RecipientStatus.CANCELED,
    RecipientStatus.SUPPRESSED,
)


def roll_up(statuses: Iterable[RecipientStatus]) -> RecipientStatus:
    """The status of an email from those of its recipients.

    Raises ValueError for an email without recipients.
    """
    present = set(statuses)
    for status in _ROLL_UP_ORDER:
        if status in present:
            return status
    raise ValueError("an email has at least one recipient")


_LAST_EVENT: dict[RecipientStatus, str] = {
    RecipientStatus.HELD: "queued",
    RecipientStatus.DEFERRED: "delivery_delayed",
    RecipientStatus.UNCONFIRMED: "delivery_delayed",
}


def last_event(status: RecipientStatus) -> str:
    """The word that the public API uses for a status."""
    return _LAST_EVENT.get(status, status.value)
