"""Builds what goes on record for each way in which an email's turn can end."""

from uuid import UUID

from tallypost_core.ids import new_id
from tallypost_core.object_store import ObjectNotFound
from tallypost_domain.emails.lifecycle import RecipientEvent
from tallypost_domain.queue.loading import LoadedEmail
from tallypost_domain.queue.types import (
    Claim,
    RecipientChange,
    Settlement,
    attempt_of,
    changes_of,
)
from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.types import Provider, SendResult


def handed_over(
    email: LoadedEmail,
    claim: Claim,
    worker_id: UUID,
    provider: Provider,
    result: SendResult,
    duration_s: float,
) -> Settlement:
    """A provider answered, or kept silent, about the recipients that it was asked for."""
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
    )


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
    email: LoadedEmail, claim: Claim, worker_id: UUID, *, retry_in_s: float = 0.0
) -> Settlement:
    """Nothing has left, for a reason that is neither the email's nor the recipients'."""
    return Settlement(
        claim=claim,
        worker_id=worker_id,
        attempt=None,
        changes=_suppressed(email),
        retry_in_s=retry_in_s,
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
    if isinstance(error, EmailNotBuildable):
        return error.code
    if isinstance(error, ObjectNotFound):
        return "attachment_missing"
    return None


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
