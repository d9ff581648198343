"""Turns what was decided about a chunk of emails into the rows that are written."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec
from msgspec import Struct

from tallypost_core.ids import new_id
from tallypost_domain.emails.lifecycle import RecipientEvent
from tallypost_domain.queue.decisions import Decision, QueueAction
from tallypost_domain.queue.record_statements import (
    Changes,
    EmailChange,
    Key,
    NewAttempt,
    NewEvent,
    QueueChange,
    StatusChange,
)
from tallypost_domain.queue.types import Attempt, Claim, RecipientChange, Settlement, StoredEmail

_EVENT_TYPE: dict[RecipientEvent, str] = {
    RecipientEvent.ACCEPTED: "email.sent",
    RecipientEvent.REJECTED: "email.bounced",
    RecipientEvent.DEFERRED: "email.deferred",
    RecipientEvent.UNCONFIRMED: "email.unconfirmed",
    RecipientEvent.SUPPRESSED: "email.suppressed",
    RecipientEvent.HELD: "email.held",
    RecipientEvent.GAVE_UP: "email.failed",
}
_MARK = "mark"
_ROW_FATE: dict[QueueAction, str] = {
    QueueAction.CLEAR: "clear",
    QueueAction.DELETE: "delete",
    QueueAction.RETRY: "waiting",
    QueueAction.RELEASE: "waiting",
    QueueAction.HOLD: "held",
    QueueAction.WAIT_FOR_PROOF: "ambiguous",
}


class Decided(Struct, frozen=True):
    """A settlement, the email that it was decided on, and what was decided."""

    settlement: Settlement
    stored: StoredEmail
    decision: Decision

    @property
    def key(self) -> Key:
        """Of the email."""
        claim = self.settlement.claim
        return claim.tenant_id, claim.email_id


def changes_to_write(
    decided: Iterable[Decided], worker_id: UUID, claims: Iterable[Claim]
) -> Changes:
    """Everything that follows from the decisions, and the claims of this worker to mark."""
    ordered = sorted(decided, key=lambda item: item.key)
    queue = [_queue_row(item) for item in ordered if item.decision.action in _ROW_FATE]
    queue += [
        QueueChange(claim.tenant_id, claim.email_id, claim.fence, worker_id, _MARK)
        for claim in claims
    ]
    return Changes(
        queue=sorted(queue, key=lambda row: row[:2]),
        emails=_email_rows(ordered),
        recipients=_recipient_rows(ordered),
        attempts=[
            _attempt_row(item, attempt)
            for item in ordered
            if (attempt := item.settlement.attempt) is not None
        ],
        events=[row for item in ordered for row in _event_rows(item)],
    )


def event_row(
    key: Key, mode: str, type_: str, recipient_id: UUID, data: Mapping[str, object]
) -> NewEvent:
    """A new event of a recipient."""
    return NewEvent(
        *key, id=new_id(), mode=mode, type=type_, recipient_id=recipient_id, data=_json(data)
    )


def _queue_row(item: Decided) -> QueueChange:
    settlement, decision = item.settlement, item.decision
    # A row that was marked as leaving, and from which nothing was handed over after all, has its
    # handover taken off the count. So has one whose round goes on with another account.
    returns = decision.action in (QueueAction.RETRY, QueueAction.RELEASE)
    return QueueChange(
        *item.key,
        fence=settlement.claim.fence,
        worker_id=settlement.worker_id,
        fate=_ROW_FATE[decision.action],
        delay_s=decision.delay_s,
        is_unsent=returns and (settlement.attempt is None or settlement.fails_over),
    )


def _email_rows(decided: Sequence[Decided]) -> list[EmailChange]:
    # Of two settlements of one email in a chunk the later one has the last word.
    rows: dict[Key, EmailChange] = {}
    for item in decided:
        before = rows.get(item.key)
        rows[item.key] = EmailChange(
            *item.key,
            expected=item.stored.status if before is None else before.expected,
            status=item.decision.email_status,
        )
    return [row for row in rows.values() if row.status != row.expected]


def _recipient_rows(decided: Sequence[Decided]) -> list[StatusChange]:
    # As for emails: what is expected is what the first found, what is written what the last says.
    rows: dict[UUID, StatusChange] = {}
    for item in decided:
        changes = {change.recipient_id: change for change in item.settlement.changes}
        for recipient_id, status in item.decision.statuses.items():
            change = changes.get(recipient_id)
            before = rows.get(recipient_id)
            expected = item.stored.statuses[recipient_id] if before is None else before.expected
            billed_before = None if before is None else before.billed_provider
            rows[recipient_id] = StatusChange(
                *item.key,
                id=recipient_id,
                expected=expected,
                status=status,
                detail=change.detail if change else None,
                message_id=change.provider_message_id if change else None,
                billed_provider=_billed_provider(item, recipient_id) or billed_before,
            )
    return list(rows.values())


def _billed_provider(item: Decided, recipient_id: UUID) -> str | None:
    attempt = item.settlement.attempt
    if attempt is None or item.stored.mode != "live" or recipient_id not in item.decision.accepted:
        return None
    return attempt.provider


def _attempt_row(item: Decided, attempt: Attempt) -> NewAttempt:
    return NewAttempt(
        *item.key,
        id=attempt.id,
        number=attempt.number,
        fence=item.settlement.claim.fence,
        worker_id=item.settlement.worker_id,
        provider=attempt.provider,
        account=attempt.account,
        outcome=attempt.outcome,
        is_late=not item.stored.is_current,
        phase=attempt.phase,
        recipients=_json(attempt.recipients),
        evidence=_json(attempt.evidence),
        message_id=attempt.provider_message_id,
        duration_s=attempt.duration_s,
    )


def _event_rows(item: Decided) -> list[NewEvent]:
    rows = [_event_row(item, change, _EVENT_TYPE[change.event]) for change in item.decision.applied]
    for change in item.decision.doubled:
        rows.append(_event_row(item, change, "email.duplicate_suspected"))
    for recipient_id in item.decision.gave_up:
        change = RecipientChange(
            recipient_id=recipient_id,
            event=RecipientEvent.GAVE_UP,
            data={"reason": "attempts_exhausted"},
        )
        rows.append(_event_row(item, change, _EVENT_TYPE[change.event]))
    return rows


def _event_row(item: Decided, change: RecipientChange, type_: str) -> NewEvent:
    data = dict(change.data)
    if item.settlement.attempt is not None:
        data["attempt_id"] = str(item.settlement.attempt.id)
    return event_row(item.key, item.stored.mode, type_, change.recipient_id, data)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
