"""Reads the time at which an email is to be sent."""

import datetime as dt
import re

from tallypost_domain.emails.errors import InvalidField

MAX_DAYS_AHEAD = 30

_RELATIVE = re.compile(
    r"^\s*in\s+(?P<count>\d{1,6}|an?)\s+"
    r"(?P<unit>s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|weeks?)\s*$",
    # Without ASCII, U+017F counts as an s in another case.
    re.IGNORECASE | re.ASCII,
)
_EARLIEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_scheduled_at(text: str, now: dt.datetime) -> dt.datetime:
    """The UTC time of `2026-11-24T09:00:00Z`, of another ISO 8601 form, or of `in 5 minutes`.

    A time without an offset is UTC. A past time is returned as it is, or as 1970 where it lies
    before that: the email is due at once.
    Raises InvalidField (`scheduled_at`) for other text and for more than 30 days ahead.
    """
    moment = _relative(text, now) or _absolute(text)
    if moment is None:
        raise InvalidField(
            "The `scheduled_at` field is not a time: write ISO 8601, such as "
            "`2030-01-31T09:00:00Z`, or `in 5 minutes`.",
            field="scheduled_at",
        )
    if moment > now + dt.timedelta(days=MAX_DAYS_AHEAD):
        raise InvalidField(
            f"The `scheduled_at` field is more than {MAX_DAYS_AHEAD} days ahead.",
            field="scheduled_at",
        )
    return moment


def _relative(text: str, now: dt.datetime) -> dt.datetime | None:
    match = _RELATIVE.match(text)
    if match is None:
        return None
    count = 1 if match["count"].lower() in {"a", "an"} else int(match["count"])
    ahead = dt.timedelta(seconds=count * _UNIT_S[match["unit"][0].lower()])
    # 999999 weeks lie beyond the last year that a datetime has.
    return now + min(ahead, dt.timedelta(days=MAX_DAYS_AHEAD + 1))


def _absolute(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        # The year 1, which some languages write for "no time", would be stored as -infinity.
        return max(moment.astimezone(dt.UTC), _EARLIEST)
    except (ValueError, OverflowError):
        return None
