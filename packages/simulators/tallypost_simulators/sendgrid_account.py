"""The state of a simulated SendGrid account: what it may do, and what it has taken."""

import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tallypost_simulators.sendgrid_errors import (
    FORBIDDEN,
    NO_CREDITS,
    REVOKED,
    TOO_MANY,
    UNAUTHENTICATED,
    SendGridError,
)

API_KEY = "SG.simulated.key"
SCOPES = (
    "mail.send",
    "whitelabel.create",
    "whitelabel.delete",
    "whitelabel.read",
    "whitelabel.update",
    "email_activity.read",
)


class TakenMail(Struct, frozen=True):
    """One message that was queued: one personalization of one request."""

    message_id: str
    """What `X-Message-Id` told."""
    recipients: tuple[str, ...]
    """The addresses of to, cc and bcc, in this order."""
    # Any: the request as it came, which other code has judged.
    fields: Mapping[str, Any]
    body: bytes
    """The whole request's body, as it came."""
    message: bytes
    """What its recipients get to see; see `sendgrid_mime`."""
    custom_args: Mapping[str, str]
    taken_at_s: float
    """Unix seconds."""

    def message_id_of(self, address: str) -> str:
        """The id of one recipient's message, as events and the activity feed have it."""
        return f"{self.message_id}.recvd-0-{self.recipients.index(address)}.0"


class RateLimit(Struct):
    """So many requests to each endpoint in each period."""

    requests: int
    period_s: float


class RateCounter:
    """Counts the requests to one endpoint; the periods begin at whole multiples of their length."""

    def __init__(self) -> None:
        self._period = 0
        self._count = 0

    def count(self, limit: RateLimit) -> tuple[dict[str, str], bool]:
        """The headers that every answer has, and whether the request is one too many."""
        period = int(time.time() // limit.period_s)
        if period != self._period:
            self._period, self._count = period, 0
        self._count += 1
        headers = {
            "X-RateLimit-Limit": str(limit.requests),
            "X-RateLimit-Remaining": str(max(0, limit.requests - self._count)),
            "X-RateLimit-Reset": str(int((period + 1) * limit.period_s)),
        }
        return headers, self._count > limit.requests


class Account:
    """The knobs, and what they do to a request."""

    def __init__(self) -> None:
        self.is_key_revoked = False
        self.is_suspended = False
        self.has_credits = True
        self.has_activity = True
        """The account has bought the Email Activity Feed."""
        self.is_activity_down = False
        self.activity_delay_s = 0.0
        """After a message is taken, the feed does not show it for so long."""
        self.scopes = set(SCOPES)
        self.rate_limit = RateLimit(requests=10_000, period_s=1.0)
        self.activity_rate_limit = RateLimit(requests=6, period_s=60.0)
        self._counters: dict[str, RateCounter] = {}

    def require_key(self, authorization: str, scope: str) -> None:
        """Raise SendGridError unless the request may do this."""
        if not authorization:
            raise SendGridError(UNAUTHENTICATED)
        if authorization != f"Bearer {API_KEY}" or self.is_key_revoked:
            raise SendGridError(REVOKED)
        if self.is_suspended or scope not in {"", *self.scopes}:
            raise SendGridError(FORBIDDEN)
        if scope == "mail.send" and not self.has_credits:
            raise SendGridError(NO_CREDITS)

    def count(self, endpoint: str, headers: dict[str, str]) -> None:
        """Count a request and fill in the rate headers of its answer; raises SendGridError for
        one too many."""
        limit = self.activity_rate_limit if endpoint == "messages" else self.rate_limit
        counter = self._counters.setdefault(endpoint, RateCounter())
        told, is_too_many = counter.count(limit)
        headers.update(told)
        if is_too_many:
            raise SendGridError(TOO_MANY)
