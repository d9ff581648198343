"""What the delivery loop and the queue tell each other."""

from collections.abc import Mapping
from uuid import UUID

from msgspec import Struct

from tallypost_domain.emails.lifecycle import RecipientEvent, RecipientStatus
from tallypost_domain.emails.types import LOOK_UP
from tallypost_providers.types import Mode, Outcome, RecipientResult, SendResult


class Claim(Struct, frozen=True):
    """A row that this worker holds: nobody else touches it while the worker's beat is fresh."""

    tenant_id: UUID
    email_id: UUID
    lane: str
    fence: int
    attempt: int
    """Rounds of handovers begun before this claim, since the email was accepted or sent again."""


class Attempt(Struct, frozen=True, kw_only=True):
    """One handover to a provider, or one look-up there, as it goes on record.

    Its id makes recording it twice harmless.
    """

    id: UUID
    number: int
    """1 for the first round since the email was accepted or sent again. The handovers of one round
    go to one account after the other, until one of them takes the email. A look-up has the number
    of the handover that it asks about."""
    provider: str
    account: str
    outcome: Outcome
    phase: str
    recipients: tuple[Mapping[str, object], ...]
    evidence: Mapping[str, str]
    provider_message_id: str | None
    duration_s: float

    @property
    def is_look_up(self) -> bool:
        """Whether nothing was handed over: the provider was asked what it took."""
        return self.phase == LOOK_UP


class RecipientChange(Struct, frozen=True, kw_only=True):
    """What happened to one recipient, and the words that go with it."""

    recipient_id: UUID
    event: RecipientEvent
    detail: str | None = None
    data: Mapping[str, object] = {}
    """Goes into the event: outcome, reply codes, reason."""
    provider_message_id: str | None = None
    retry_after_s: float | None = None


class StoredEmail(Struct, frozen=True, kw_only=True):
    """What is known about an email: as it was loaded with its claim, or read under a lock."""

    mode: Mode
    on_unconfirmed: str
    attempts_begun: int
    is_current: bool
    """The worker still holds the row it claimed; False makes a settlement late."""
    status: RecipientStatus
    statuses: Mapping[UUID, RecipientStatus]
    """Of all recipients."""


class Settlement(Struct, frozen=True, kw_only=True):
    """Everything that one email's turn in this worker led to.

    attempt is None where nothing was handed over: all recipients suppressed, the email held, or
    the handover put off. Where the row waits again, a handover that was marked is not counted.
    """

    claim: Claim
    worker_id: UUID
    attempt: Attempt | None
    changes: tuple[RecipientChange, ...]
    hold: bool = False
    """Put the row aside until it is released, instead of trying again."""
    retry_in_s: float | None = 0.0
    """Without an attempt: the time until the next try, or None where the email keeps its turn and
    is due again when it was before. With an attempt, the retry policy says."""
    fails_over: bool = False
    """With an attempt that nobody took: another account may be asked at once, in the same round."""
    look_up_in_s: float | None = None
    """Where somebody is unconfirmed, before the stream's policy is applied: the time until the
    provider is asked whether it took the email. Until then the row waits."""
    only_if_current: bool = False
    """Drop all of this where the row is no longer the worker's, instead of recording it late."""
    as_loaded: StoredEmail | None = None
    """The email as it was when it was claimed; None makes the recording read it again."""


_EVENT_OF_OUTCOME: dict[Outcome, RecipientEvent] = {
    Outcome.ACCEPTED: RecipientEvent.ACCEPTED,
    Outcome.REJECTED: RecipientEvent.REJECTED,
    Outcome.DEFERRED: RecipientEvent.DEFERRED,
    Outcome.THROTTLED: RecipientEvent.DEFERRED,
    Outcome.SUSPENDED: RecipientEvent.DEFERRED,
    Outcome.UNAVAILABLE: RecipientEvent.DEFERRED,
    Outcome.AMBIGUOUS: RecipientEvent.UNCONFIRMED,
}

# An attempt with several recipients shows the outcome that matters most to its reader.
_WORST_FIRST: tuple[Outcome, ...] = (
    Outcome.AMBIGUOUS,
    Outcome.SUSPENDED,
    Outcome.UNAVAILABLE,
    Outcome.THROTTLED,
    Outcome.DEFERRED,
    Outcome.REJECTED,
    Outcome.ACCEPTED,
)


def changes_of(result: SendResult) -> tuple[RecipientChange, ...]:
    """What a provider's answer means for each recipient."""
    return tuple(
        RecipientChange(
            recipient_id=recipient.recipient_id,
            event=_EVENT_OF_OUTCOME[recipient.outcome],
            detail=recipient.detail or _without_words(recipient),
            data={
                "outcome": recipient.outcome.value,
                "reply_code": recipient.reply_code,
                "enhanced_code": recipient.enhanced_code,
                "phase": result.phase,
            },
            provider_message_id=result.provider_message_id,
            retry_after_s=recipient.retry_after_s,
        )
        for recipient in result.recipients
    )


def _without_words(recipient: RecipientResult) -> str | None:
    """What stands in the place of words, so that those of an earlier answer do not stay."""
    if recipient.reply_code is None:
        return None
    return f"{recipient.reply_code} {recipient.outcome}"


def worst_outcome(result: SendResult) -> Outcome:
    """The outcome of a handover as a whole: the one of a recipient that matters most."""
    outcomes = {recipient.outcome for recipient in result.recipients}
    return next(outcome for outcome in _WORST_FIRST if outcome in outcomes)


def attempt_of(
    result: SendResult,
    *,
    attempt_id: UUID,
    number: int,
    provider: str,
    account: str,
    duration_s: float,
) -> Attempt:
    """A provider's answer as it goes on record."""
    return Attempt(
        id=attempt_id,
        number=number,
        provider=provider,
        account=account,
        outcome=worst_outcome(result),
        phase=result.phase,
        recipients=tuple(
            {
                "recipient_id": str(recipient.recipient_id),
                "outcome": recipient.outcome.value,
                "reply_code": recipient.reply_code,
                "enhanced_code": recipient.enhanced_code,
                "detail": recipient.detail,
            }
            for recipient in result.recipients
        ),
        evidence=result.evidence,
        provider_message_id=result.provider_message_id,
        duration_s=duration_s,
    )
