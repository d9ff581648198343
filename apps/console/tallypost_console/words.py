"""Turns values into what a page shows: times, sizes, durations, and the tone of a state."""

import datetime as dt
from collections.abc import Mapping
from typing import Final

from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_providers.types import Outcome

NEUTRAL: Final = "neutral"

_TONES: Final[Mapping[str, str]] = {
    RecipientStatus.SCHEDULED: NEUTRAL,
    RecipientStatus.QUEUED: NEUTRAL,
    RecipientStatus.HELD: "warning",
    RecipientStatus.DEFERRED: "warning",
    RecipientStatus.UNCONFIRMED: "warning",
    RecipientStatus.SENT: "info",
    RecipientStatus.DELIVERED: "success",
    RecipientStatus.BOUNCED: "danger",
    RecipientStatus.COMPLAINED: "danger",
    RecipientStatus.SUPPRESSED: NEUTRAL,
    RecipientStatus.FAILED: "danger",
    RecipientStatus.CANCELED: NEUTRAL,
    Outcome.ACCEPTED: "success",
    Outcome.REJECTED: "danger",
    Outcome.THROTTLED: "warning",
    Outcome.SUSPENDED: "danger",
    Outcome.UNAVAILABLE: "warning",
    Outcome.AMBIGUOUS: "warning",
}

_KILO = 1000


def tone(state: str) -> str:
    """How a state of a recipient or an outcome of an attempt is coloured."""
    return _TONES.get(state, NEUTRAL)


def full_time(moment: dt.datetime) -> str:
    """`24 Nov 2026, 06:22:05 UTC`."""
    return f"{moment.astimezone(dt.UTC):%-d %b %Y, %H:%M:%S} UTC"


def short_time(moment: dt.datetime) -> str:
    """`24 Nov 2026, 06:22`; for lists, whose heading names the time zone."""
    return f"{moment.astimezone(dt.UTC):%-d %b %Y, %H:%M}"


def size(size_bytes: int) -> str:
    """`512 B`, `4.2 kB`, `5.0 MB`; thousands, not 1,024s."""
    if size_bytes < _KILO:
        return f"{size_bytes} B"
    if size_bytes < _KILO**2:
        return f"{size_bytes / _KILO:.1f} kB"
    return f"{size_bytes / _KILO**2:.1f} MB"


def duration(duration_s: float) -> str:
    """`35 ms` or `2.4 s`."""
    return f"{duration_s * 1000:.0f} ms" if duration_s < 1 else f"{duration_s:.1f} s"


def sentence(word: str) -> str:
    """The first letter as a capital, underscores as spaces."""
    return word[:1].upper() + word[1:].replace("_", " ")
