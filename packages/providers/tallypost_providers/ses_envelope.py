"""Whom SES may be asked to send to, and what came of it for each recipient."""

import re
from collections.abc import Iterable
from typing import Literal

from tallypost_providers.addresses import parse_mailbox
from tallypost_providers.base import clip
from tallypost_providers.http_failures import HTTPAnswer, HTTPSilence
from tallypost_providers.ses_answers import SESReply
from tallypost_providers.ses_failures import (
    MAIL_FROM_UNVERIFIED,
    NOT_ASKED,
    PAUSED,
    UNVERIFIED,
    classify,
)
from tallypost_providers.types import Outcome, OutgoingEmail, RecipientResult, SendResult

MAX_RECIPIENTS = 50
"""Of one message (docs.aws.amazon.com/ses/latest/dg/quotas.html)."""

MAX_MESSAGE_BYTES = 40 * 1024 * 1024
"""Of a message with its attachments in base64, as it is handed over (the same page: 40 MB)."""

DAILY_QUOTA_PAUSE_S = 600.0
"""What AWS asks for once the daily quota is used up: "wait for an interval of up to 10 minutes"
(developer guide, manage-sending-quotas-errors)."""

_DAILY_QUOTA = "Daily message quota exceeded"

# A send for a tenant of SES is refused with this where what it refers to is not the tenant's, by
# the name of a missing permission; the ARNs of what is missing follow.
_UNASSOCIATED = "Tenant not associated with resources"
_NOT_THE_TENANTS = "SES does not let its tenant send from this domain yet."

# SUSPENDED, with words that concern whoever sends.
_ABOUT_MAIL = frozenset({UNVERIFIED, MAIL_FROM_UNVERIFIED, PAUSED})

_FIELD_OF_KIND = {"to": "ToAddresses", "cc": "CcAddresses", "bcc": "BccAddresses"}

# SES refuses a call as a whole for one address that it cannot read ("one of the recipient addresses
# isn't in a valid format", API_SendRawEmail), so that address is kept out of it. Lengths are those
# of RFC 5321, section 4.5.3.1.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}|\"[!#-\[\]-~]{1,62}\"")
_DOMAIN = re.compile(
    r"(?=.{1,255}\Z)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
# RFC 3463: X.1.3 is the syntax of an address; RFC 6531: X.6.7 is an address outside ASCII.
_BAD_ADDRESS_CODE = "5.1.3"
_NEEDS_UTF8_CODE = "5.6.7"


class SESAnswers:
    """One answer for each recipient of an email, known by its place in the email's order.

    An address that SES takes in no case is refused from the start, by itself.
    """

    def __init__(self, email: OutgoingEmail) -> None:
        self._recipients = email.recipients
        self._from_header = email.from_header
        self._answers = [_refuse_unusable(email, place) for place in range(len(email.recipients))]
        self._phase = "envelope"
        self._was_asked = False
        self._message_id: str | None = None
        self._evidence: dict[str, str] = {}
        self._concerns: Literal["account", "sender"] = "account"
        self._pause_s: float | None = None

    @property
    def is_complete(self) -> bool:
        """True where something is known about every recipient."""
        return None not in self._answers

    def destination(self) -> dict[str, list[str]]:
        """The envelope as SES takes it: whoever has no answer yet, by kind of header."""
        destination: dict[str, list[str]] = {}
        for place in self._list_open():
            recipient = self._recipients[place]
            destination.setdefault(_FIELD_OF_KIND[recipient.kind], []).append(recipient.address)
        return destination

    def find_obstacle(self, too_large_bytes: int | None) -> str | None:
        """What SES takes in no case, in words; the size is that of a message over its limit."""
        if not self.refuse_too_many() and too_large_bytes is not None:
            self.refuse_too_large(too_large_bytes)
        return next((answer.detail for answer in self._answers if answer is not None), None)

    def refuse_too_many(self) -> bool:
        """Refuse all where there are more recipients than SES takes for one message."""
        count = len(self._list_open())
        if count <= MAX_RECIPIENTS:
            return False
        self._refuse(f"SES takes {MAX_RECIPIENTS} recipients of a message; this one has {count}.")
        return True

    def refuse_too_large(self, size_bytes: int) -> bool:
        """Refuse all where the message is larger than SES takes."""
        if size_bytes <= MAX_MESSAGE_BYTES:
            return False
        self._refuse(f"SES takes {MAX_MESSAGE_BYTES} bytes; the message has {size_bytes}.")
        return True

    def settle(self, reply: SESReply) -> None:
        """Give everybody who has no answer what SES said, or did not say."""
        signal = reply.signal
        status, retry_after_s = None, None
        if isinstance(signal, HTTPAnswer) and signal.status != NOT_ASKED:
            status, retry_after_s = signal.status, signal.retry_after_s
        has_left = status is not None or signal in {HTTPSilence.TIMEOUT, HTTPSilence.RESET}
        self._phase = "http" if has_left else "connect"
        self._was_asked = True
        self._evidence = dict(reply.evidence)
        if self._is_about_sender(reply):
            self._concerns = "sender"
        if reply.detail.startswith(_DAILY_QUOTA):
            self._pause_s = DAILY_QUOTA_PAUSE_S
        self._message_id = reply.body.get("MessageId")
        outcome = classify(signal)
        self._record(
            self._list_open(),
            outcome,
            reply_code=status,
            detail=_told_to_tenants(reply, outcome),
            retry_after_s=retry_after_s,
        )

    def result(self) -> SendResult:
        """One entry for each recipient, in the email's order; they must be complete."""
        return SendResult(
            recipients=tuple(answer for answer in self._answers if answer is not None),
            provider_message_id=self._message_id,
            phase=self._phase,
            evidence=self._evidence,
            concerns=self._concerns,
            was_asked=self._was_asked,
            pause_s=self._pause_s,
        )

    def _is_about_sender(self, reply: SESReply) -> bool:
        """True where SES refuses this domain and might take another's mail."""
        if reply.error_name == MAIL_FROM_UNVERIFIED or _is_identity_unassociated(reply):
            return True
        # In the sandbox the words are the same and name recipients: that is the account's.
        domain = parse_mailbox(self._from_header, "from").domain
        return reply.error_name == UNVERIFIED and f"@{domain.lower()}" in reply.detail.lower()

    def _list_open(self) -> list[int]:
        return [place for place, answer in enumerate(self._answers) if answer is None]

    def _refuse(self, detail: str) -> None:
        self._phase = "size"
        self._record(self._list_open(), Outcome.REJECTED, detail=detail)

    def _record(
        self,
        places: Iterable[int],
        outcome: Outcome,
        *,
        reply_code: int | None = None,
        detail: str,
        retry_after_s: float | None = None,
    ) -> None:
        for place in places:
            self._answers[place] = RecipientResult(
                recipient_id=self._recipients[place].recipient_id,
                outcome=outcome,
                reply_code=reply_code,
                detail=detail,
                retry_after_s=retry_after_s,
            )


def _told_to_tenants(reply: SESReply, outcome: Outcome) -> str:
    """SES's words, but of what it has against the account no more than the name: a sentence on
    permissions or signatures quotes the platform's AWS account."""
    if _is_identity_unassociated(reply):
        return _NOT_THE_TENANTS
    if outcome is not Outcome.SUSPENDED or reply.error_name in _ABOUT_MAIL:
        return clip(reply.detail + reply.hint)
    return clip(f"SES refuses this account: {reply.error_name}.{reply.hint}")


def _is_identity_unassociated(reply: SESReply) -> bool:
    """True where SES's tenant lacks the sender's identity; without the configuration set alone
    nobody may send."""
    return (
        reply.error_name == "AccessDeniedException"
        and reply.detail.startswith(_UNASSOCIATED)
        and ":identity/" in reply.detail
    )


def _refuse_unusable(email: OutgoingEmail, place: int) -> RecipientResult | None:
    recipient = email.recipients[place]
    local_part, _, domain = recipient.address.rpartition("@")
    if _LOCAL_PART.fullmatch(local_part) and _DOMAIN.fullmatch(domain):
        return None
    code, detail = _BAD_ADDRESS_CODE, "SES takes no address of this form."
    if not local_part.isascii():
        code, detail = _NEEDS_UTF8_CODE, "SES takes no address outside ASCII before the @."
    return RecipientResult(
        recipient_id=recipient.recipient_id,
        outcome=Outcome.REJECTED,
        enhanced_code=code,
        detail=detail,
    )
