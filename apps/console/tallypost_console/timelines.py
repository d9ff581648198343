"""What happened to an email, step by step, with the time in between."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from tallypost_console.words import answer_line, sentence
from tallypost_domain.emails.types import LOOK_UP
from tallypost_domain.emails.views import EmailView, EventView
from tallypost_domain.queue.unconfirmed_decisions import (
    SETTLED_EVENTS,
    SettledAs,
    is_settlement,
)

_ARRIVED: Final = SETTLED_EVENTS[SettledAs.SENT]
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
# Nothing was handed over: the provider was asked what became of it.
_LOOK_UP_WORDS: Final[Mapping[str, str]] = {
    "email.sent": "Found at the provider, which has taken it",
    "email.unconfirmed": "Without proof that the provider took it",
}
_WHO: Final[Mapping[object, str]] = {"person": "a person", "api_key": "a program"}
_TONES: Final[Mapping[str, str]] = {
    "email.sent": "info",
    _ARRIVED: "info",
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
# Said by the words for it.
_SAID_OF_SETTLED: Final = frozenset({"was", "as", "actor_kind"})


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
                what=_what(event),
                tone=_TONES.get(event.type, "neutral"),
                at=event.created_at,
                gap_s=(event.created_at - steps[-1].at).total_seconds() if steps else None,
                address=of_whom if has_several else None,
                said=answer_line(event.data),
                facts=_facts(event),
            )
        )
    return tuple(steps)


def _what(event: EventView) -> str:
    if is_settlement(event.type, event.data):
        who = _WHO.get(event.data.get("actor_kind"), "somebody")
        if event.type == _ARRIVED:
            return f"Settled as sent: {who} said that it arrived"
        return f"Canceled: {who} said that it did not arrive"
    is_look_up = event.data.get("phase") == LOOK_UP
    words = _LOOK_UP_WORDS if is_look_up and event.type in _LOOK_UP_WORDS else _WORDS
    return words.get(event.type, sentence(event.type.removeprefix("email.")))


def _facts(event: EventView) -> dict[str, object]:
    said = _SAID | _SAID_OF_SETTLED if is_settlement(event.type, event.data) else _SAID
    return {name: fact for name, fact in event.data.items() if name not in said}
