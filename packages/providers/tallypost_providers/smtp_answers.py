"""What a handover has found out about each recipient."""

import re
from collections.abc import Iterable

from tallypost_providers.base import DETAIL_MAX_CHARS, clip
from tallypost_providers.smtp_failures import Phase, Reply, Signal, Silence, classify
from tallypost_providers.types import Outcome, OutgoingEmail, RecipientResult, SendResult

# A path as MAIL and RCPT take it. No space and no angle bracket, even inside quotes: a peer that
# reads the line less strictly would take the rest for a parameter.
_PATH = re.compile(r"[!-;=?-~]{1,320}@[!-;=?-~]{1,255}")
# The same with a local part beyond ASCII (RFC 6531): no blank of any script, no control.
_UTF8_PATH = re.compile(r"[^\s<>\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,320}@[!-;=?-~]{1,255}")
_QUEUE_ID = re.compile(r"\bqueued as ([A-Za-z0-9._-]{1,100})", re.IGNORECASE)

# What the peer was not asked gets the code that it would have given: RFC 3463 has X.1.3 for the
# syntax of an address, X.3.4 for a message that is too big and X.6.3 for a conversion that would
# be needed, RFC 6531 has X.6.7 for an address outside ASCII.
_BAD_ADDRESS_CODE = "5.1.3"
# Replies to MAIL that are not about the envelope sender: 421 and X.3.Z are about the relay, 530 to
# 538 about our login (RFC 4954, section 6), 500 to 504 and 555 about the dialogue (RFC 5321,
# section 4.2.2), 454 and X.7.28 about how fast all of us send (see `smtp_failures`).
_ABOUT_ACCOUNT = re.compile(
    r"(421|454) .*|[45]\d\d [45]\.(3\..*|7\.28)|53[0-8] .*|(500|501|502|503|504|555) .*"
)
# Once a relay has seen the message, X.6.Z is about its content and X.7.Z about a policy that it met
# (RFC 3463, sections 3.7 and 3.8), such as greylisting by content.
_ABOUT_MESSAGE = re.compile(r"(?!421|454)4\d\d 4\.[67]\.(?!28$).*")

_NOT_ASKED_CODES: dict[tuple[Phase, Silence], str] = {
    ("mail", Silence.TOO_LARGE): "5.3.4",
    ("mail", Silence.MISSING): "5.6.3",
    ("rcpt", Silence.MISSING): "5.6.7",
}


class Answers:
    """One answer for each recipient of an email, known by its place in the email's order.

    An address that no envelope can hold is refused from the start.
    """

    def __init__(self, email: OutgoingEmail) -> None:
        self.phase: Phase = "connect"
        """Where the handover ended, as far as it is known."""
        self.evidence: dict[str, str] = {}
        self._recipients = email.recipients
        self._provider_message_id: str | None = None
        self._is_about_sender = False
        self._answers: list[RecipientResult | None] = [None] * len(email.recipients)
        for place, recipient in enumerate(email.recipients):
            if not is_path(recipient.address):
                self._answers[place] = RecipientResult(
                    recipient_id=recipient.recipient_id,
                    outcome=Outcome.REJECTED,
                    enhanced_code=_BAD_ADDRESS_CODE,
                    detail="The address cannot stand in an SMTP envelope.",
                )

    @property
    def is_complete(self) -> bool:
        """True where something is known about every recipient."""
        return None not in self._answers

    def list_open(self) -> list[int]:
        """Places of the recipients about whom nothing is known yet."""
        return [place for place, answer in enumerate(self._answers) if answer is None]

    def record(self, places: Iterable[int], phase: Phase, signal: Signal, note: str = "") -> str:
        """Give these recipients the meaning of one signal; the detail that they get.

        note describes a silence; a reply describes itself.
        """
        outcome = classify(phase, signal)
        reply_code: int | None = None
        if isinstance(signal, Reply):
            reply_code, enhanced_code = signal.code, signal.enhanced_code
            detail = clip(signal.text)
        else:
            enhanced_code = _NOT_ASKED_CODES.get((phase, signal))
            detail = clip(note)
        for place in places:
            self._answers[place] = RecipientResult(
                recipient_id=self._recipients[place].recipient_id,
                outcome=outcome,
                reply_code=reply_code,
                enhanced_code=enhanced_code,
                detail=detail,
            )
        return detail

    def settle(self, phase: Phase, signal: Signal, note: str = "") -> None:
        """Give everybody who has no answer the signal at which the handover ended."""
        self.phase = phase
        detail = self.record(self.list_open(), phase, signal, note)
        if isinstance(signal, Silence):
            self.evidence["silence"] = signal.value
            return
        self._is_about_sender = _is_about_sender(phase, signal)
        self.evidence["reply"] = f"{signal.code} {detail}"[:DETAIL_MAX_CHARS]
        if phase == "final" and signal.is_positive and (found := _QUEUE_ID.search(signal.text)):
            self._provider_message_id = found[1]

    def result(self) -> SendResult:
        """One entry for each recipient, in the email's order; they must be complete."""
        return SendResult(
            recipients=tuple(answer for answer in self._answers if answer is not None),
            provider_message_id=self._provider_message_id,
            phase=self.phase,
            evidence=self.evidence,
            concerns="sender" if self._is_about_sender else "account",
        )


def _is_about_sender(phase: Phase, reply: Reply) -> bool:
    codes = f"{reply.code} {reply.enhanced_code or ''}"
    if phase in ("data", "final"):
        return _ABOUT_MESSAGE.fullmatch(codes) is not None
    return phase == "mail" and not _ABOUT_ACCOUNT.fullmatch(codes)


def is_path(address: str) -> bool:
    """True where an address can stand between the angle brackets of MAIL and RCPT."""
    pattern = _PATH if address.isascii() else _UTF8_PATH
    return pattern.fullmatch(address) is not None
