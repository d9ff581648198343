"""What an answer or a silence of SendGrid's Mail Send API means, as a table.

`FAILURES` is read from top to bottom and the first row that fits decides; `http_failures` says how
a pattern reads. SendGrid documents one form for every error: `errors`, a list of objects with a
`message` each. Only an answer in that form is SendGrid's own statement. Two statuses say by
themselves that a request was not taken, whoever answers: 413 and 429.

The sources are pages below twilio.com/docs/sendgrid/api-reference: Responses and Rate Limits of
how-to-use-the-sendgrid-v3-api, and of mail-send the operation, its Errors and its Limitations.
"""

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from tallypost_providers.base import clip
from tallypost_providers.http_failures import RETRY_AFTER_MAX_S, HTTPAnswer, HTTPRow, HTTPSilence
from tallypost_providers.types import Outcome
from tallypost_resilience.egress import EgressResponse
from tallypost_resilience.egress_rules import (
    EgressFailed,
    EgressForbidden,
    EgressRedirected,
    EgressTimedOut,
    EgressTooLarge,
    EgressUnreachable,
)

# RFC 9110, section 15.5.14: who answers 413 has not read the body, let alone passed it on. It need
# not be SendGrid itself: the nginx before it answers so with a page of its own.
_TOO_LARGE = "Limitations: 30 MB. Whoever on the way refuses a body for its size, has not taken it"
# RFC 6585, section 4: the status itself says that this request was one too many.
_TOO_MANY = "Rate Limits: too many requests in this period"
# The message is not at fault: what answers in SendGrid's form is not its Mail Send, or understands
# another version of it. A person has to correct that, and another account may take the message.
_NOT_UNDERSTOOD = "Mail Send: no such resource, method or media type: our settings or our code"

SENDER_UNVERIFIED: Final = "403 from"
"""The pattern of the row that is about one sending domain and not about the account."""

TOO_LARGE_ON_THE_WAY: Final = "413 undocumented"
"""The pattern of the row that is about one email and tells nothing of the account."""

FAILURES: tuple[HTTPRow, ...] = (
    HTTPRow("unreachable", Outcome.UNAVAILABLE, "nothing of the request has left"),
    HTTPRow("202", Outcome.ACCEPTED, "Responses: both valid and queued to be delivered"),
    HTTPRow("400", Outcome.REJECTED, "Errors: content, a header or a recipient is not allowed"),
    HTTPRow("401", Outcome.SUSPENDED, "Responses: the key is invalid, or no credits are left"),
    HTTPRow(SENDER_UNVERIFIED, Outcome.SUSPENDED, "Responses: From is no verified sender"),
    HTTPRow("403", Outcome.SUSPENDED, "Responses: no scope for this, or blocked for a time"),
    HTTPRow("404", Outcome.SUSPENDED, _NOT_UNDERSTOOD),
    HTTPRow("405", Outcome.SUSPENDED, _NOT_UNDERSTOOD),
    HTTPRow("406", Outcome.SUSPENDED, _NOT_UNDERSTOOD),
    HTTPRow("415", Outcome.SUSPENDED, _NOT_UNDERSTOOD),
    HTTPRow("413", Outcome.REJECTED, _TOO_LARGE),
    HTTPRow(TOO_LARGE_ON_THE_WAY, Outcome.UNAVAILABLE, _TOO_LARGE + "; whose limit it is, is open"),
    HTTPRow("429", Outcome.THROTTLED, _TOO_MANY),
    HTTPRow("429 undocumented", Outcome.THROTTLED, _TOO_MANY + ", whoever on the way counts them"),
    HTTPRow("500", Outcome.UNAVAILABLE, "Mail Send: an error of SendGrid's, stated by itself"),
    HTTPRow("503", Outcome.UNAVAILABLE, "Errors: the API is not available, stated by itself"),
    HTTPRow("any", Outcome.AMBIGUOUS, "the request has left, and SendGrid has stated nothing"),
)

_SECONDS = re.compile(r"[0-9]{1,15}")
_RATE_HEADERS = {
    "x-ratelimit-limit": "rate_limit",
    "x-ratelimit-remaining": "rate_remaining",
    "x-ratelimit-reset": "rate_reset",
}


class _Error(Struct):
    message: str
    field: object = None
    """Where in the request; null, the word `null` or absent for an error of the whole."""

    @property
    def field_name(self) -> str:
        """The field; empty for an error of the whole."""
        return self.field if isinstance(self.field, str) and self.field != "null" else ""

    def __str__(self) -> str:
        return f"{self.field_name}: {self.message}" if self.field_name else self.message


class _Errors(Struct):
    errors: Annotated[list[_Error], Meta(min_length=1)]


_ERRORS = msgspec.json.Decoder(_Errors)

EGRESS_ERRORS: Final = (
    EgressFailed,
    EgressForbidden,
    EgressRedirected,
    EgressTimedOut,
    EgressTooLarge,
)
"""What `Egress.fetch` raises for what a peer or a network does."""


def read_answer(response: EgressResponse, now: dt.datetime) -> HTTPAnswer:
    """One answer of the API; now is what the end of a rate limit is counted from.

    SendGrid's errors have no names: `code` is the field that the first of them is about.
    """
    errors = _find_errors(response.body)
    return HTTPAnswer(
        response.status,
        code=errors[0].field_name if errors else "",
        text=_tell(errors),
        is_documented=bool(errors) or response.status == 202,
        retry_after_s=_retry_after_s(response.headers, now) if response.status == 429 else None,
    )


def read_errors(body: bytes) -> str | None:
    """The words of an answer in the form of SendGrid's errors; None for any other."""
    errors = _find_errors(body)
    return _tell(errors) if errors else None


def read_pause_s(response: EgressResponse, now: dt.datetime) -> float | None:
    """For how long no other request should be made: a rate limit is reached, or used up."""
    is_used_up = response.headers.get("x-ratelimit-remaining", "").strip() == "0"
    if response.status == 429 or is_used_up:
        return _retry_after_s(response.headers, now)
    return None


def read_evidence(response: EgressResponse) -> dict[str, str]:
    """The facts of an answer for the timeline; routing can pace itself by the rate headers."""
    evidence = {"status": str(response.status)}
    for header, name in _RATE_HEADERS.items():
        if header in response.headers:
            evidence[name] = clip(response.headers[header])[:100]
    return evidence


def read_silence(error: Exception) -> tuple[HTTPSilence, str]:
    """Which silence one of EGRESS_ERRORS is, and a note about it."""
    if isinstance(error, EgressUnreachable | EgressForbidden):
        return HTTPSilence.UNREACHABLE, "no connection to SendGrid"
    if isinstance(error, EgressTimedOut):
        return HTTPSilence.TIMEOUT, "no answer in time"
    if isinstance(error, EgressRedirected):
        return HTTPSilence.RESET, "the answer is a redirect, which SendGrid does not document"
    if isinstance(error, EgressTooLarge):
        return HTTPSilence.RESET, "the answer is too large to be one of SendGrid's"
    return HTTPSilence.RESET, "the connection ended, or the answer is no HTTP"


def _find_errors(body: bytes) -> list[_Error]:
    try:
        return _ERRORS.decode(body).errors
    except msgspec.MsgspecError:
        return []


def _tell(errors: list[_Error]) -> str:
    return "; ".join(str(error) for error in errors)


def _retry_after_s(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """From Retry-After, in seconds or as a date, else from SendGrid's own header, which has the
    end of the period in Unix seconds."""
    told = headers.get("retry-after", "").strip()
    reset = headers.get("x-ratelimit-reset", "").strip()
    if _SECONDS.fullmatch(told):
        wait_s = float(told)
    elif (until := _find_date(told)) is not None:
        wait_s = (until - now).total_seconds()
    elif _SECONDS.fullmatch(reset):
        wait_s = float(reset) - now.timestamp()
    else:
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)


def _find_date(text: str) -> dt.datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else None
