"""What the platform hands to a provider and what it gets back.

The domain sees this module and `errors` only; adapters live beside it and stay behind it.
"""

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Literal, Protocol
from uuid import UUID

from msgspec import Struct

Mode = Literal["test", "live"]
RecipientKind = Literal["to", "cc", "bcc"]

EMAIL_ID_HEADER = "X-Tallypost-Email-Id"
"""The header that names the email in each copy of its message; the Inbox finds its tenant by it."""


def message_id(email_id: UUID, from_domain: str) -> str:
    """The Message-ID of every copy of an email, in angle brackets.

    from_domain is the domain of From in its ASCII form.
    """
    return f"<{email_id}@{from_domain}>"


class Outcome(enum.StrEnum):
    """The seven classes that every provider answer falls into.

    Exactly THROTTLED, SUSPENDED and UNAVAILABLE may move to another provider: they state that
    the message was not taken, for a reason that is not its own. AMBIGUOUS states nothing.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    THROTTLED = "throttled"
    SUSPENDED = "suspended"
    UNAVAILABLE = "unavailable"
    AMBIGUOUS = "ambiguous"

    @property
    def may_fail_over(self) -> bool:
        """True where another provider may take the same message at once."""
        return self in _MAY_FAIL_OVER


_MAY_FAIL_OVER = frozenset({Outcome.THROTTLED, Outcome.SUSPENDED, Outcome.UNAVAILABLE})


# Headers that the platform writes or that only a mail system may add; a tenant sets none of them.
# Bcc would show hidden recipients, the Resent- family would too (RFC 5322, section 3.6.6).
_RESERVED_HEADERS = frozenset(
    {
        "authentication-results",
        "bcc",
        "cc",
        "date",
        "delivered-to",
        "dkim-signature",
        "domainkey-signature",
        "from",
        "message-id",
        "mime-version",
        "received",
        "reply-to",
        "return-path",
        "sender",
        "subject",
        "to",
        "x-msys-api",
        "x-smtpapi",
    }
)
# Those from x-mailgun- on are orders that providers take from a message's headers: which settings,
# senders and addresses of the platform's account an email goes by is not its sender's choice.
_RESERVED_HEADER_PREFIXES = (
    *("arc-", "content-", "resent-", "x-tallypost-"),
    *("x-mailgun-", "x-mc-", "x-mj-", "x-pm-", "x-ses-", "x-sg-"),
)


def is_reserved_header(name: str) -> bool:
    """True where a tenant may not set this header; accept refuses it, the MIME writer again."""
    lowered = name.lower()
    return lowered in _RESERVED_HEADERS or lowered.startswith(_RESERVED_HEADER_PREFIXES)


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a provider can do. Routing reads `reaches_outside` and `keeps_envelope`, the settling
    of unconfirmed emails `lookup`."""

    raw_mime: bool
    """Takes our own MIME bytes, unchanged but for what it says below."""
    keeps_message_id: bool
    """Leaves our Message-ID header as it is."""
    keeps_envelope: bool
    """Can send to fewer recipients than the header names."""
    signs_dkim: bool
    """Signs itself, so that our signature is not needed."""
    idempotent: bool
    """Takes an idempotency token: a repeat after an ambiguous answer cannot double."""
    lookup: bool
    """Can be asked later whether it took a message: by `look_ups.LooksUp.look_up`, which the
    account then has."""
    events: bool
    """Reports deliveries and bounces."""
    reaches_outside: bool
    """Hands messages to other mail systems; False for the Inbox."""


class Attachment(Struct, frozen=True, kw_only=True):
    """One attachment, its body in memory."""

    filename: str
    content_type: str
    """`type/subtype`, with parameters or without."""
    body: bytes
    content_id: str | None = None
    """Set for an inline part; html refers to it as `cid:` and this id, no angle brackets."""


class EnvelopeRecipient(Struct, frozen=True, kw_only=True):
    """One recipient still to send to."""

    recipient_id: UUID
    address: str
    """Bare address; the domain is in its ASCII form."""
    kind: RecipientKind


class DKIMKey(Struct, frozen=True, kw_only=True):
    """One signing key of the sending domain."""

    domain: str
    selector: str
    algorithm: Literal["rsa-sha256", "ed25519-sha256"]
    private_key: bytes
    """PKCS#8 DER, in the clear. Never logged."""

    def __repr__(self) -> str:
        return f"DKIMKey(domain={self.domain!r}, selector={self.selector!r})"


class OutgoingEmail(Struct, frozen=True, kw_only=True):
    """Everything that one handover needs; pure data, made from stored rows.

    Header fields are as the tenant wrote them, `recipients` is who gets it this time: on a retry
    only those who are still pending.
    """

    tenant_id: UUID
    email_id: UUID
    mode: Mode
    created_at: dt.datetime
    from_header: str
    """`Name <local@domain>` or a bare address."""
    envelope_sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    reply_to: tuple[str, ...]
    subject: str
    html: str | None
    text: str | None
    headers: Mapping[str, str]
    """The tenant's own headers; none for which `is_reserved_header` holds."""
    attachments: tuple[Attachment, ...]
    recipients: tuple[EnvelopeRecipient, ...]
    dkim_keys: tuple[DKIMKey, ...]
    tags: Mapping[str, str]
    is_bulk: bool = False
    """Lets other mail go first where both wait for the same connection."""


class RecipientResult(Struct, frozen=True, kw_only=True):
    """What the provider said about one recipient."""

    recipient_id: UUID
    outcome: Outcome
    reply_code: int | None = None
    """SMTP reply code or HTTP status."""
    enhanced_code: str | None = None
    """RFC 3463 code such as `5.1.1`."""
    detail: str = ""
    """The provider's own words, at most 500 characters."""
    retry_after_s: float | None = None


class SendResult(Struct, frozen=True, kw_only=True):
    """The result of one handover: one entry for each recipient that was asked for."""

    recipients: tuple[RecipientResult, ...]
    provider_message_id: str | None = None
    phase: str = ""
    """Where it ended: size or envelope (before any contact), connect, tls, hello, auth, mail, rcpt,
    data, final, http, or store; of a provider that broke, crashed or overrun."""
    evidence: Mapping[str, str] = {}
    """Small facts for the timeline, such as the peer's greeting or queue id."""
    concerns: Literal["account", "sender"] = "account"
    """Whom a SUSPENDED, UNAVAILABLE or THROTTLED is about: the account as a whole, or mail from
    this domain alone."""
    was_asked: bool = True
    """False where what came of it says nothing of the peer's health: the provider judged by itself,
    or the peer refused what it takes of nobody, such as a request that is too large."""
    pause_s: float | None = None
    """The account asks for no other handover before so many seconds, whatever became of this."""


class Provider(Protocol):
    """An adapter to one account at one provider; see `base` for the contract in full."""

    name: str
    """The entry point's name: `smtp`, `ses`, `inbox`."""
    account: str
    """Which account of it; unique among the running providers."""
    capabilities: Capabilities
    rate_per_s: float | None
    """Handovers a second that the account allows, of all processes together; None where no bound
    is known."""

    def find_obstacle(self, email: OutgoingEmail) -> str | None:
        """What in this email the provider takes in no case, in words; None where it finds nothing.

        Pure, without contact. Routing asks another account where there is one; asked to send all
        the same, the provider refuses with such words.
        """
        ...

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Hand one email over, within timeout_s seconds in all.

        Never raises for what a peer does: every answer and every silence is an Outcome. A
        cancellation after the first body byte loses evidence, so the worker cancels a handover
        only where it is still under way when the time to shut down is over.
        Raises EmailNotBuildable, always before any contact with the peer, for an email that no
        retry can turn into a message: a fault of ours, not of the recipient or the peer. Raises
        ProviderBusy, just as early, where no connection becomes free in time or the adapter is
        closed: nothing is known of the peer then, and the email is due again.
        """
        ...

    async def close(self) -> None:
        """Give back connections; may run twice.

        Each connection that is in use is given back once its handover has finished, which may be
        after `close` returns. A provider may refuse further emails with ProviderBusy, and those
        that still wait for a connection.
        """
        ...
