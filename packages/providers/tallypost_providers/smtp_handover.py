"""One email's dialogue with an SMTP peer, and what it means for each recipient."""

import re
from uuid import UUID

from tallypost_providers.base import clip
from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.smtp_connection import Budget, HandoverStopped, SMTPConnection
from tallypost_providers.smtp_failures import Phase, Reply, Signal, Silence, classify
from tallypost_providers.types import (
    EnvelopeRecipient,
    Outcome,
    OutgoingEmail,
    RecipientResult,
    SendResult,
)

# A path as MAIL and RCPT take it. No space and no angle bracket, even inside quotes: a peer that
# reads the line less strictly would take the rest for a parameter.
_PATH = re.compile(r"[!-;=?-~]{1,320}@[!-;=?-~]{1,255}")
_QUEUE_ID = re.compile(r"\bqueued as ([A-Za-z0-9._-]{1,100})", re.IGNORECASE)


class SMTPHandover:
    """One message on its way; `run` once per connection, then `result`.

    Recipients whose address no envelope can hold are refused here and never named to the peer.
    """

    def __init__(self, email: OutgoingEmail, message: bytes, budget: Budget) -> None:
        """Raises EmailNotBuildable where the envelope sender, which is ours, is unusable."""
        if email.envelope_sender and not _PATH.fullmatch(email.envelope_sender):
            raise EmailNotBuildable("The envelope sender is unusable.", field="envelope_sender")
        self.budget = budget
        self._email = email
        self._message = message
        self._answers: dict[UUID, RecipientResult] = {}
        self._phase: Phase = "connect"
        self._evidence: dict[str, str] = {}
        self._provider_message_id: str | None = None
        for recipient in email.recipients:
            if not _PATH.fullmatch(recipient.address):
                self._answers[recipient.recipient_id] = _refused_here(recipient)

    @property
    def unanswered(self) -> list[EnvelopeRecipient]:
        """Recipients about whom nothing is known yet."""
        return [item for item in self._email.recipients if item.recipient_id not in self._answers]

    async def run(self, connection: SMTPConnection) -> None:
        """Go through the whole dialogue; the connection is in a known state afterwards.

        Answers of an earlier run on another connection that broke before the body are kept only
        where they refused a recipient.
        Raises HandoverStopped.
        """
        self._evidence = {
            "greeting": clip(connection.greeting),
            "connection": "kept" if connection.is_reused else "new",
        }
        if connection.is_reused:
            await self._reset(connection)
        await self._announce_sender(connection)
        accepted = await self._announce_recipients(connection)
        if not accepted:
            self._phase = "rcpt"
            return
        reply = await connection.command("data", b"DATA", budget=self.budget)
        if reply.code != 354:
            raise HandoverStopped("data", reply)
        reply = await connection.send_body(self._message, self.budget)
        self._settle("final", reply)
        if queue_id := _QUEUE_ID.search(reply.text):
            self._provider_message_id = queue_id[1] if reply.is_positive else None

    def stop(self, stop: HandoverStopped) -> None:
        """Settle everybody who has no answer by where and why the dialogue ended."""
        self._settle(stop.phase, stop.signal, stop.note)

    def result(self) -> SendResult:
        """One entry for each recipient, in the email's order."""
        return SendResult(
            recipients=tuple(self._answers[item.recipient_id] for item in self._email.recipients),
            provider_message_id=self._provider_message_id,
            phase=self._phase,
            evidence=self._evidence,
        )

    async def _reset(self, connection: SMTPConnection) -> None:
        reply = await connection.command("mail", b"RSET", budget=self.budget)
        if not reply.is_positive:
            raise HandoverStopped("mail", Silence.GARBAGE, "the peer refused RSET")

    async def _announce_sender(self, connection: SMTPConnection) -> None:
        words = [b"MAIL", f"FROM:<{self._email.envelope_sender}>".encode("ascii")]
        if connection.takes_size:
            words.append(f"SIZE={len(self._message)}".encode("ascii"))
        reply = await connection.command("mail", *words, budget=self.budget)
        if not reply.is_positive:
            raise HandoverStopped("mail", reply)

    async def _announce_recipients(self, connection: SMTPConnection) -> int:
        accepted = 0
        for recipient in self.unanswered:
            path = f"TO:<{recipient.address}>".encode("ascii")
            reply = await connection.command("rcpt", b"RCPT", path, budget=self.budget)
            if reply.is_positive:
                accepted += 1
                continue
            outcome = classify("rcpt", reply)
            self._answers[recipient.recipient_id] = _from_signal(recipient, outcome, reply)
        return accepted

    def _settle(self, phase: Phase, signal: Signal, note: str = "") -> None:
        outcome = classify(phase, signal)
        self._phase = phase
        if isinstance(signal, Reply):
            self._evidence["reply"] = clip(f"{signal.code} {signal.text}")
        else:
            self._evidence["silence"] = signal.value
        for recipient in self.unanswered:
            answer = _from_signal(recipient, outcome, signal, note)
            self._answers[recipient.recipient_id] = answer


def _from_signal(
    recipient: EnvelopeRecipient, outcome: Outcome, signal: Signal, note: str = ""
) -> RecipientResult:
    if isinstance(signal, Silence):
        return RecipientResult(
            recipient_id=recipient.recipient_id, outcome=outcome, detail=clip(note)
        )
    return RecipientResult(
        recipient_id=recipient.recipient_id,
        outcome=outcome,
        reply_code=signal.code,
        enhanced_code=signal.enhanced_code,
        detail=clip(signal.text),
    )


def _refused_here(recipient: EnvelopeRecipient) -> RecipientResult:
    """X.6.7 is RFC 6531's code for an address outside ASCII, X.1.3 is RFC 3463's for syntax."""
    is_ascii = recipient.address.isascii()
    return RecipientResult(
        recipient_id=recipient.recipient_id,
        outcome=Outcome.REJECTED,
        enhanced_code="5.1.3" if is_ascii else "5.6.7",
        detail="The address cannot stand in an SMTP envelope."
        if is_ascii
        else "The address needs SMTPUTF8, which this provider does not use.",
    )
