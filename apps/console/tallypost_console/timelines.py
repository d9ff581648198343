"""What happened to an email, step by step, with the time in between."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from tallypost_console.words import answer_line, sentence
from tallypost_domain.emails.views import EmailView, EventView

_WORDS: Final[Mapping[str, str]] = {
    "email.queued": "Accepted and queued",
    "email.scheduled": "Accepted, to be sent later",
    "email.rescheduled": "Moved to another time",
    "email.canceled": "Canceled",
    "email.sent": "Taken by the provider",
    "email.delivered": "Delivered",
    "email.deferred": "Put off; it is tried again",
    "email.unconfirmed": "Handed over, without an answer",
    "email.held": "Held",
    "email.released": "No longer held",
    "email.suppressed": "Not sent: suppressed",
    "email.bounced": "Bounced",
    "email.complained": "Reported as spam",
    "email.failed": "Given up",
    "email.requeued": "Put back into the queue",
    "email.duplicate_suspected": "May have been sent twice",
}
_TONES: Final[Mapping[str, str]] = {
    "email.sent": "info",
    "email.delivered": "success",
    "email.deferred": "warning",
    "email.unconfirmed": "warning",
    "email.held": "warning",
    "email.duplicate_suspected": "warning",
    "email.bounced": "danger",
    "email.complained": "danger",
    "email.failed": "danger",
}

# Said in a line of their own, or among the attempts.
_SAID: Final = frozenset(
    {"attempt_id", "phase", "outcome", "reply_code", "enhanced_code", "detail"}
)


class Step(Struct, frozen=True, kw_only=True):
    """One line of the timeline."""

    what: str
    tone: str
    at: dt.datetime
    gap_s: float | None
    """Since the step before; None for the first."""
    address: str | None
    said: str
    """What the server said, where it was asked."""
    facts: Mapping[str, object]
    """What else is known, by name."""


def timeline(
    email: EmailView, events: Sequence[EventView], names: Mapping[str, str]
) -> tuple[Step, ...]:
    """All events of an email, first to last; names are addresses by the recipients' ids.

    Whose event it is is said only where there are several recipients.
    """
    has_several = len(email.recipients) > 1
    steps: list[Step] = []
    for event in events:
        of_whom = names.get(str(event.recipient_id)) if event.recipient_id else None
        steps.append(
            Step(
                what=_WORDS.get(event.type, sentence(event.type.removeprefix("email."))),
                tone=_TONES.get(event.type, "neutral"),
                at=event.created_at,
                gap_s=(event.created_at - steps[-1].at).total_seconds() if steps else None,
                address=of_whom if has_several else None,
                said=answer_line(event.data),
                facts={name: fact for name, fact in event.data.items() if name not in _SAID},
            )
        )
    return tuple(steps)
