"""Builds what goes on record for each way in which an email's turn can end."""

import math
from collections.abc import Mapping
from uuid import UUID

import msgspec

from tallypost_core.ids import new_id
from tallypost_core.object_store import ObjectNotFound
from tallypost_domain.emails.lifecycle import RecipientEvent
from tallypost_domain.emails.types import LOOK_UP, LOOK_UP_PLANNED
from tallypost_domain.queue.loading import LoadedEmail, Silence
from tallypost_domain.queue.types import (
    Claim,
    RecipientChange,
    Settlement,
    StoredEmail,
    attempt_of,
    changes_of,
)
from tallypost_providers.base import clip
from tallypost_providers.errors import EmailNotBuildable, EnvelopeNotKept
from tallypost_providers.look_ups import FoundMessage
from tallypost_providers.types import (
    Outcome,
    OutgoingEmail,
    Provider,
    RecipientResult,
    SendResult,
)


def storable(result: SendResult, outgoing: OutgoingEmail) -> SendResult:
    """A provider's answer in a form that can be stored, whatever a plugin put into it.

    Raises ValueError, or TypeError for a value that is no data, where the answer breaks the
    contract: another type, or not exactly one entry for each recipient.
    """
    checked = msgspec.convert(msgspec.to_builtins(result), SendResult)
    answered = sorted(recipient.recipient_id for recipient in checked.recipients)
    if answered != sorted(recipient.recipient_id for recipient in outgoing.recipients):
        raise ValueError("a provider must answer for each recipient once")
    return SendResult(
        recipients=tuple(_storable(recipient) for recipient in checked.recipients),
        provider_message_id=_clip(checked.provider_message_id),
        phase=clip(checked.phase),
        evidence={clip(name): clip(value) for name, value in checked.evidence.items()},
        concerns=checked.concerns,
        was_asked=checked.was_asked,
        pause_s=_bounded(checked.pause_s),
    )


def handed_over(
    email: LoadedEmail,
    claim: Claim,
    worker_id: UUID,
    provider: Provider,
    result: SendResult,
    duration_s: float,
    *,
    fails_over: bool,
    look_up_in_s: float | None = None,
) -> Settlement:
    """A provider answered, or kept silent, about the recipients that it was asked for.

    fails_over: `may_fail_over` holds, and there is another account to ask. look_up_in_s: it kept
    silent about somebody, and is asked after this time.
    """
    if look_up_in_s is not None:
        evidence = {**result.evidence, LOOK_UP_PLANNED: "planned"}
        result = msgspec.structs.replace(result, evidence=evidence)
    return Settlement(
        claim=claim,
        worker_id=worker_id,
        attempt=attempt_of(
            result,
            attempt_id=new_id(),
            number=claim.attempt,
            provider=provider.name,
            account=provider.account,
            duration_s=duration_s,
        ),
        changes=(*changes_of(result), *_suppressed(email)),
        fails_over=fails_over,
        look_up_in_s=look_up_in_s,
        as_loaded=_as_loaded(email, claim),
    )


def may_fail_over(result: SendResult) -> bool:
    """Whether all whom the provider left unsettled may be sent to by another account at once."""
    unsettled = [
        recipient.outcome
        for recipient in result.recipients
        if recipient.outcome not in {Outcome.ACCEPTED, Outcome.REJECTED}
    ]
    return bool(unsettled) and all(outcome.may_fail_over for outcome in unsettled)


def unsent(email: LoadedEmail, worker_id: UUID) -> Settlement:
    """Nobody may be sent to: all are suppressed or settled, or the email is to be held."""
    if email.hold_reason:
        changes = tuple(
            RecipientChange(
                recipient_id=recipient.id,
                event=RecipientEvent.HELD,
                detail=email.hold_reason,
                data={"reason": email.hold_reason},
            )
            for recipient in email.recipients
        )
    else:
        changes = _suppressed(email)
    return Settlement(
        claim=email.claim,
        worker_id=worker_id,
        attempt=None,
        changes=changes,
        hold=email.hold_reason is not None,
    )


def postponed(
    email: LoadedEmail, claim: Claim, worker_id: UUID, *, retry_in_s: float | None = None
) -> Settlement:
    """Nothing has left, for a reason that is neither the email's nor the recipients'.

    Without retry_in_s the email keeps its turn.
    """
    return Settlement(
        claim=claim,
        worker_id=worker_id,
        attempt=None,
        changes=_suppressed(email),
        retry_in_s=retry_in_s,
        as_loaded=_as_loaded(email, claim),
    )


def put_off_look_up(email: LoadedEmail, worker_id: UUID, look_up_in_s: float) -> Settlement:
    """The provider was not asked whether it took the email, or does not know it yet."""
    return Settlement(
        claim=email.claim,
        worker_id=worker_id,
        attempt=None,
        changes=(),
        look_up_in_s=look_up_in_s,
        as_loaded=_as_loaded(email, email.claim),
    )


def looked_up(
    email: LoadedEmail,
    worker_id: UUID,
    silence: Silence,
    found: Mapping[UUID, FoundMessage],
    *,
    missing: str,
    evidence: Mapping[str, str],
    duration_s: float,
    look_up_in_s: float | None,
) -> Settlement:
    """The provider of a silent handover has those who are found, by recipient.

    missing says why the others are not among them. They are on record and left to the stream's
    policy, unless they are looked up again after look_up_in_s.
    """
    asked_about = silence.recipients if look_up_in_s is None else found
    result = SendResult(
        recipients=tuple(_looked_up(id_, found.get(id_), missing) for id_ in asked_about),
        provider_message_id=next((each.provider_message_id for each in found.values()), None),
        phase=LOOK_UP,
        evidence=evidence,
    )
    return Settlement(
        claim=email.claim,
        worker_id=worker_id,
        attempt=attempt_of(
            result,
            attempt_id=new_id(),
            number=email.claim.attempt,
            provider=silence.provider,
            account=silence.account,
            duration_s=duration_s,
        ),
        changes=tuple(_as_looked_up(change, found) for change in changes_of(result)),
        look_up_in_s=look_up_in_s,
        # A proof counts however late it comes; that there was none is nothing to another worker.
        only_if_current=not found,
        as_loaded=_as_loaded(email, email.claim),
    )


def given_up(email: LoadedEmail, claim: Claim, worker_id: UUID, reason: str) -> Settlement:
    """Nothing has left, and trying again would fail in the same way: a dead letter."""
    changes = tuple(
        RecipientChange(
            recipient_id=recipient.id,
            event=RecipientEvent.GAVE_UP,
            detail=reason,
            data={"reason": reason},
        )
        for recipient in email.recipients
        if not recipient.is_suppressed
    )
    return Settlement(
        claim=claim,
        worker_id=worker_id,
        attempt=None,
        changes=(*changes, *_suppressed(email)),
    )


def permanent_reason(error: Exception) -> str | None:
    """The word for a failure that a retry cannot mend; None for an outage."""
    if isinstance(error, EmailNotBuildable | EnvelopeNotKept):
        return error.code
    if isinstance(error, ObjectNotFound):
        return "attachment_missing"
    return None


def _as_loaded(email: LoadedEmail, claim: Claim) -> StoredEmail:
    return StoredEmail(
        mode=email.mode,
        on_unconfirmed=email.on_unconfirmed,
        attempts_begun=claim.attempt,
        is_current=True,
        status=email.status,
        statuses=email.statuses,
    )


def _looked_up(recipient_id: UUID, message: FoundMessage | None, missing: str) -> RecipientResult:
    if message is None:
        return RecipientResult(
            recipient_id=recipient_id, outcome=Outcome.AMBIGUOUS, detail=clip(missing)
        )
    return RecipientResult(
        recipient_id=recipient_id,
        outcome=Outcome.ACCEPTED,
        detail=clip(f"found when the provider was asked: {message.status}"),
    )


def _as_looked_up(change: RecipientChange, found: Mapping[UUID, FoundMessage]) -> RecipientChange:
    message = found.get(change.recipient_id)
    return msgspec.structs.replace(
        change,
        # Nobody spoke to the recipient's server: the words are all that an event can tell.
        data={**change.data, "detail": change.detail},
        provider_message_id=None if message is None else message.provider_message_id,
    )


def _storable(recipient: RecipientResult) -> RecipientResult:
    return msgspec.structs.replace(
        recipient,
        enhanced_code=_clip(recipient.enhanced_code),
        detail=clip(recipient.detail),
        retry_after_s=_bounded(recipient.retry_after_s),
    )


def _bounded(wait_s: float | None) -> float | None:
    return wait_s if wait_s is not None and 0 <= wait_s < math.inf else None


def _clip(text: str | None) -> str | None:
    return None if text is None else clip(text)


def _suppressed(email: LoadedEmail) -> tuple[RecipientChange, ...]:
    return tuple(
        RecipientChange(
            recipient_id=recipient.id,
            event=RecipientEvent.SUPPRESSED,
            data={"reason": "suppressed_since_accepted"},
        )
        for recipient in email.recipients
        if recipient.is_suppressed
    )
