"""Turns values into what a page shows: times, sizes, durations, and the tone of a state."""

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from markupsafe import Markup, escape

from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.queue.account_states import AccountCondition
from tallypost_domain.queue.requeueing import SkipReason
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
    AccountCondition.WELL: "success",
    AccountCondition.PAUSED: "warning",
    AccountCondition.OPEN: "danger",
    AccountCondition.HALF_OPEN: "info",
}

_CONDITIONS: Final[Mapping[AccountCondition, str]] = {
    AccountCondition.WELL: "takes mail",
    AccountCondition.PAUSED: "asked for a pause",
    AccountCondition.OPEN: "breaker open",
    AccountCondition.HALF_OPEN: "being tried",
}

_PROVIDERS: Final[Mapping[str, str]] = {
    "sendgrid": "SendGrid",
    "ses": "Amazon SES",
    "smtp": "the SMTP relay",
}

_SKIP_REASONS: Final[Mapping[SkipReason, str]] = {
    SkipReason.SUPPRESSED: "the address is on the suppression list by now",
    SkipReason.DOMAIN_NOT_VERIFIED: "the sending domain is not verified any more",
    SkipReason.CONTENT_GONE: "the content is no longer stored",
    SkipReason.TENANT_NOT_ACTIVE: "the account is not active",
    SkipReason.CHANGED_SINCE: "it does not wait for this any more",
    SkipReason.SILENT_AGAIN: (
        "it was sent again meanwhile, and no answer came either; look at it anew, then decide"
    ),
    SkipReason.BESIDE_UNCONFIRMED: (
        "another recipient of the email may have it already; decide about that one first"
    ),
}

_BACKTICKS: Final = re.compile("`([^`]+)`")
_KILO = 1000


def tone(state: str) -> str:
    """How a state of a recipient or an account, or an attempt's outcome, is coloured."""
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


def count(number: int) -> str:
    """`1,204`."""
    return f"{number:,}"


def exact(number: float, *, digits_on: int = 0) -> str:
    """The shortest decimal that reads back as this very number: `5`, `12345.67`.

    With digits_on the point stands so many digits further on, as per cent need it.
    """
    return f"{Decimal(repr(number)).scaleb(digits_on).normalize():f}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 email`, `1,204 emails`; many where it is not one with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def share(part: int, whole: int) -> str:
    """`99.2 %`; a dash where there is nothing to share."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    # What is not all is not shown as all, and what is not none not as none.
    shown = min(percent, 99.9) if part < whole else percent
    return f"{max(shown, 0.1) if part else shown:.1f} %".replace(".0 %", " %")


def answer_line(answer: Mapping[str, object]) -> str:
    """What a server said about a recipient: `550 5.1.1 no such user here`."""
    code, detail = answer.get("enhanced_code"), str(answer.get("detail") or "")
    # Most servers begin their words with it.
    shown = None if code and detail.startswith(str(code)) else code
    return " ".join(str(word) for word in (answer.get("reply_code"), shown, detail) if word)


def gap(duration_s: float) -> str:
    """How long until the next thing happened: `+35 ms`, `+2.4 s`, `+3 min`, `+2 h`, `+3 days`."""
    for unit, size, limit in (("min", 60, 3600), ("h", 3600, 48 * 3600)):
        if size <= duration_s < limit:
            return f"+{duration_s / size:.0f} {unit}"
    if duration_s >= 48 * 3600:
        return f"+{duration_s / 86400:.0f} days"
    return f"+{duration(max(0.0, duration_s))}"


def age(seconds: float) -> str:
    """As `gap`, without the sign."""
    return gap(seconds).removeprefix("+")


def with_code(text: str) -> Markup:
    """What stands between backticks, as code."""
    return Markup(_BACKTICKS.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def skip_reason(reason: SkipReason) -> str:
    """Why a recipient was not put back into the queue."""
    return _SKIP_REASONS[reason]


def provider_name(provider: str) -> str:
    """What people call a provider; one of a plugin goes by the name of its entry point."""
    return _PROVIDERS.get(provider, provider)


def condition(state: AccountCondition) -> str:
    """What stands between a provider account and the next email."""
    return _CONDITIONS[state]


FILTERS: Final = {
    "skip_reason": skip_reason,
    "provider_name": provider_name,
    "condition": condition,
    "with_code": with_code,
    "answer_line": answer_line,
    "tone": tone,
    "full_time": full_time,
    "short_time": short_time,
    "size": size,
    "duration": duration,
    "sentence": sentence,
    "count": count,
    "plural": plural,
    "share": share,
    "gap": gap,
    "age": age,
}
