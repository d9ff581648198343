"""What an SMTP peer's answer or silence means, as a table.

`FAILURES` is read from top to bottom and the first row that fits decides. RFC 5321 gives the
first digit its meaning (section 4.2.1): 4 is "not now", 5 is "not like this". What differs by
phase is whom the reply is about: at MAIL our account, at RCPT one recipient, at DATA and at the
final dot the message. Until the first byte of the body has left, silence is known to be harmless.
"""

import enum
import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from tallypost_providers.types import Outcome

Phase = Literal["connect", "tls", "hello", "auth", "mail", "rcpt", "data", "final"]


class Silence(enum.StrEnum):
    """The ways in which a peer does not answer."""

    TIMEOUT = "timeout"
    """Nothing within the time allowed."""
    RESET = "reset"
    """The connection ended."""
    REFUSED = "refused"
    """No connection: refused, unreachable, no such host, or a tenant's that leads to where nobody
    may be led."""
    GARBAGE = "garbage"
    """Bytes that are no SMTP reply, or a broken TLS handshake."""
    UNTRUSTED = "untrusted"
    """The certificate does not prove that the peer is the host in the settings."""
    MISSING = "missing"
    """The peer does not offer the extension that the settings or the message demand."""
    TOO_LARGE = "too_large"
    """The message is larger than the peer announced that it takes, so it was not asked."""


class Reply(Struct, frozen=True):
    """One reply of a peer; text has a line for each line of it."""

    code: int
    text: str

    @property
    def enhanced_code(self) -> str | None:
        """The RFC 3463 code at the start of the text, such as `5.1.1`; None without one."""
        match = _ENHANCED.match(self.text)
        return match[0] if match else None

    @property
    def is_positive(self) -> bool:
        """True for 2xx, whatever the other digits (RFC 5321, section 4.3.2)."""
        return 200 <= self.code <= 299


Signal = Reply | Silence


class HandoverStopped(Exception):
    """The dialogue ended early: in which phase, and at what answer or silence."""

    def __init__(self, phase: Phase, signal: Signal, note: str = "") -> None:
        """note describes a silence; an answer describes itself."""
        super().__init__(phase)
        self.phase = phase
        self.signal = signal
        self.note = note

    @property
    def is_broken(self) -> bool:
        """True where nobody knows what the peer would say next.

        That is after a silence, after 421 (the peer hangs up), and after a reply that made no
        sense where it came, such as 250 to DATA: then replies and commands are out of step.
        """
        if isinstance(self.signal, Silence):
            return self.signal not in _SAID_BEFOREHAND
        return self.signal.code == 421 or self.signal.code < 400


class Row(Struct, frozen=True):
    """One line of the table."""

    phase: Phase
    pattern: str
    """`421`, `4xx`, either with an enhanced code that may end in `*`, a Silence, or `any`."""
    outcome: Outcome
    reason: str


# What EHLO told us: the peer was not even asked.
_SAID_BEFOREHAND = frozenset({Silence.MISSING, Silence.TOO_LARGE})
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\S)")

# X.7.28 is registered as "mail flood detected" (IANA, SMTP enhanced status codes).
_FLOOD = "X.7.28: our sending as a whole is too fast, whoever the recipient is"
# Amazon's name for an exceeded rate or quota (docs.aws.amazon.com/ses/latest/dg/
# manage-sending-quotas-errors.html). RFC 3207 and RFC 4954 define 454 for STARTTLS and AUTH
# only, so that after them it is about the account in any case.
_454 = "454 outside STARTTLS and AUTH: Amazon SES throttles with it"
_CLOSING = "RFC 5321, 3.8: the service is closing the channel"
_NOT_UNDERSTOOD = "RFC 5321, 4.2.2: about the dialogue, neither the message nor a recipient"

FAILURES: tuple[Row, ...] = (
    Row("connect", "any", Outcome.UNAVAILABLE, "RFC 5321, 3.1: 554 or nothing: no service here"),
    Row("tls", "any", Outcome.UNAVAILABLE, "RFC 3207, 4.1: without TLS nothing is sent"),
    Row("hello", "any", Outcome.UNAVAILABLE, "RFC 5321, 4.1.1.1: no session was opened"),
    Row("auth", "432", Outcome.SUSPENDED, "RFC 4954, 4.6 and 6: a new password is needed"),
    Row("auth", "4xx", Outcome.UNAVAILABLE, "RFC 4954, 6: 454 temporary failure, and 421"),
    Row("auth", "5xx", Outcome.SUSPENDED, "RFC 4954, 6: 535, 534, 538, 530: our credentials"),
    Row("auth", "missing", Outcome.SUSPENDED, "credentials are set and cannot be used"),
    Row("auth", "any", Outcome.UNAVAILABLE, "no session was opened"),
    Row("mail", "4xx 4.7.28", Outcome.THROTTLED, _FLOOD),
    Row("mail", "421", Outcome.UNAVAILABLE, _CLOSING),
    Row("mail", "454", Outcome.THROTTLED, _454),
    Row("mail", "4xx 4.7.*", Outcome.THROTTLED, "RFC 3463, 3.8: a policy on senders, for a time"),
    Row("mail", "4xx", Outcome.UNAVAILABLE, "RFC 5321, 4.3.2: 451, 452: not now"),
    Row("mail", "552", Outcome.REJECTED, "RFC 1870, 6.1: larger than the peer ever takes"),
    Row("mail", "too_large", Outcome.REJECTED, "RFC 1870, 4: larger than the peer announced"),
    Row("mail", "missing", Outcome.REJECTED, "RFC 6152, 3: 8-bit content and no 8BITMIME"),
    Row("mail", "5xx 5.3.4", Outcome.REJECTED, "RFC 3463, 3.4: message too big for the system"),
    Row("mail", "500", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("mail", "501", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("mail", "502", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("mail", "503", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("mail", "504", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("mail", "555", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("mail", "5xx", Outcome.SUSPENDED, "RFC 5321, 3.3: our envelope sender or account"),
    Row("mail", "any", Outcome.UNAVAILABLE, "nothing of the message was sent"),
    Row("rcpt", "2xx", Outcome.ACCEPTED, "RFC 5321, 3.3: this recipient may follow"),
    Row("rcpt", "4xx 4.7.28", Outcome.THROTTLED, _FLOOD),
    Row("rcpt", "421", Outcome.UNAVAILABLE, _CLOSING),
    Row("rcpt", "454", Outcome.THROTTLED, _454),
    Row("rcpt", "4xx", Outcome.DEFERRED, "RFC 5321, 4.2.1 and 4.5.3.1.10: this recipient later"),
    Row("rcpt", "500", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("rcpt", "502", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("rcpt", "503", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("rcpt", "530", Outcome.SUSPENDED, "RFC 4954, 6: authentication is required"),
    Row("rcpt", "5xx", Outcome.REJECTED, "RFC 5321, 3.3 and 4.2.1: this recipient never"),
    Row("rcpt", "missing", Outcome.REJECTED, "RFC 6531: outside ASCII and no SMTPUTF8"),
    Row("rcpt", "any", Outcome.UNAVAILABLE, "nothing of the message was sent"),
    Row("data", "4xx 4.7.28", Outcome.THROTTLED, _FLOOD),
    Row("data", "421", Outcome.UNAVAILABLE, _CLOSING),
    Row("data", "454", Outcome.THROTTLED, _454),
    Row("data", "4xx", Outcome.UNAVAILABLE, "RFC 5321, 4.3.2: refused before the body"),
    Row("data", "500", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("data", "502", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("data", "503", Outcome.UNAVAILABLE, _NOT_UNDERSTOOD),
    Row("data", "530", Outcome.SUSPENDED, "RFC 4954, 6: authentication is required"),
    Row("data", "5xx", Outcome.REJECTED, "RFC 5321, 4.3.2: 554, the transaction is refused"),
    Row("data", "any", Outcome.UNAVAILABLE, "no 354 came, so no byte of the body was sent"),
    Row("final", "2xx", Outcome.ACCEPTED, "RFC 5321, 4.2.5: the peer has taken responsibility"),
    Row("final", "4xx 4.7.28", Outcome.THROTTLED, _FLOOD),
    Row("final", "454", Outcome.THROTTLED, _454),
    Row("final", "4xx", Outcome.UNAVAILABLE, "RFC 5321, 4.2.5: stated that it was not taken"),
    Row("final", "5xx", Outcome.REJECTED, "RFC 5321, 4.2.5: stated that it never will be"),
    Row("final", "any", Outcome.AMBIGUOUS, "RFC 1047: sent, and no statement came back"),
)


def classify(phase: Phase, signal: Signal) -> Outcome:
    """The outcome of the first row that fits; every phase ends in a row for anything else."""
    return find_row(phase, signal).outcome


def find_row(phase: Phase, signal: Signal) -> Row:
    """The row that decides about this signal."""
    if isinstance(signal, Silence):
        return _find_row(phase, signal.value, None)
    return _find_row(phase, signal.code, signal.enhanced_code)


# Peers repeat themselves; the bound is for those that make up codes.
@lru_cache(maxsize=1024)
def _find_row(phase: Phase, word: int | str, enhanced_code: str | None) -> Row:
    """word is a reply code or the name of a silence."""
    return next(row for row in FAILURES if row.phase == phase and _fits(row, word, enhanced_code))


def _fits(row: Row, word: int | str, enhanced_code: str | None) -> bool:
    if row.pattern in {"any", word}:
        return True
    code_pattern, _, enhanced_pattern = row.pattern.partition(" ")
    if not re.fullmatch(code_pattern.replace("x", "[0-9]"), str(word)):
        return False
    if enhanced_pattern.endswith("*"):
        return (enhanced_code or "").startswith(enhanced_pattern[:-1])
    return enhanced_pattern in {"", enhanced_code}
