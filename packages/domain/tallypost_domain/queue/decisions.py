"""Decides what a settlement does to an email; pure, so that every rule is a row in a test.

The database locks rows, calls `decide`, and writes what it says.
"""

import enum
from collections.abc import Mapping
from uuid import UUID

from msgspec import Struct

from tallypost_domain.emails.lifecycle import (
    NO_PROOF,
    PENDING,
    RecipientEvent,
    RecipientStatus,
    next_status,
    roll_up,
)
from tallypost_domain.queue.types import RecipientChange, Settlement, StoredEmail
from tallypost_resilience.retry import RetryPolicy, next_delay_s


class QueueAction(enum.StrEnum):
    """What becomes of the queue row."""

    KEEP = "keep"
    """Somebody else's row now; not ours to change."""
    CLEAR = "clear"
    """Nobody is left to send to, and the row is not ours: it goes if no worker holds it."""
    DELETE = "delete"
    RETRY = "retry"
    RELEASE = "release"
    """Nothing was handed over, and the row is due again when it was due before."""
    HOLD = "hold"
    WAIT_FOR_PROOF = "wait_for_proof"
    """Only unconfirmed recipients are left, and they are not to be sent to again: the stream says
    so, or attempts are used up."""


# Unconfirmed recipients keep their status through these, and yet are not to be sent to again.
_NEVER_AGAIN = frozenset({RecipientEvent.GAVE_UP, RecipientEvent.SUPPRESSED})


class Decision(Struct, frozen=True, kw_only=True):
    """What to write."""

    statuses: Mapping[UUID, RecipientStatus]
    """New statuses of the recipients that change."""
    email_status: RecipientStatus
    accepted: tuple[UUID, ...]
    """Recipients that became `sent` by this: one ledger row each."""
    applied: tuple[RecipientChange, ...]
    """Changes that recipients took, for the most part pending ones: one event each."""
    doubled: tuple[RecipientChange, ...]
    """Acceptances of recipients that had the email before, or were given up: a copy too many may
    exist."""
    gave_up: tuple[UUID, ...]
    """Recipients that failed because attempts are used up: dead letters."""
    action: QueueAction
    delay_s: float | None = None
    """Until the row is due again; None leaves its due time as it is."""


def decide(settlement: Settlement, stored: StoredEmail, policy: RetryPolicy) -> Decision:
    """Apply a settlement to an email."""
    statuses = dict(stored.statuses)
    accepted: list[UUID] = []
    applied: list[RecipientChange] = []
    doubled: list[RecipientChange] = []
    for change in settlement.changes:
        current = statuses.get(change.recipient_id)
        is_accepted = change.event is RecipientEvent.ACCEPTED
        # A late result only settles what is pending, or was canceled by hand; it never takes hope
        # away.
        if current is None or not (stored.is_current or is_accepted):
            continue
        after = next_status(current, change.event)
        if current not in PENDING and after is current:
            # What became of a copy too many is no news of the recipient, unless it arrived. What
            # a look-up finds may be the copy that is known.
            if is_accepted and not _is_look_up(settlement):
                doubled.append(change)
            continue
        if current is RecipientStatus.UNCONFIRMED and change.event in NO_PROOF:
            continue
        applied.append(change)
        if is_accepted:
            accepted.append(change.recipient_id)
        statuses[change.recipient_id] = after
    action, delay_s, gave_up = _queue_action(settlement, stored, statuses, policy)
    for recipient_id in gave_up:
        statuses[recipient_id] = next_status(statuses[recipient_id], RecipientEvent.GAVE_UP)
    return Decision(
        statuses={
            recipient_id: status
            for recipient_id, status in statuses.items()
            if status is not stored.statuses[recipient_id]
        },
        email_status=roll_up(statuses.values()),
        accepted=tuple(accepted),
        applied=tuple(applied),
        doubled=tuple(doubled),
        gave_up=tuple(gave_up),
        action=action,
        delay_s=delay_s,
    )


def _queue_action(
    settlement: Settlement,
    stored: StoredEmail,
    statuses: Mapping[UUID, RecipientStatus],
    policy: RetryPolicy,
) -> tuple[QueueAction, float | None, list[UUID]]:
    pending = [id_ for id_, status in statuses.items() if status in PENDING]
    if not stored.is_current:
        return (QueueAction.KEEP if pending else QueueAction.CLEAR), None, []
    unconfirmed = [id_ for id_ in pending if statuses[id_] is RecipientStatus.UNCONFIRMED]
    if not pending:
        return QueueAction.DELETE, None, []
    if settlement.hold:
        return QueueAction.HOLD, None, []
    action, delay_s, gave_up = _by_policy(settlement, stored, statuses, policy)
    if unconfirmed and settlement.look_up_in_s is not None:
        # Nothing is sent again, nor left to a person, before the provider was asked.
        return QueueAction.RETRY, settlement.look_up_in_s, gave_up
    return action, delay_s, gave_up


def _by_policy(
    settlement: Settlement,
    stored: StoredEmail,
    statuses: Mapping[UUID, RecipientStatus],
    policy: RetryPolicy,
) -> tuple[QueueAction, float | None, list[UUID]]:
    """What becomes of a row with pending recipients, as the stream and the retry policy say."""
    pending = [id_ for id_, status in statuses.items() if status in PENDING]
    unconfirmed = [id_ for id_ in pending if statuses[id_] is RecipientStatus.UNCONFIRMED]
    sendable = set(pending) - {
        change.recipient_id for change in settlement.changes if change.event in _NEVER_AGAIN
    }
    if stored.on_unconfirmed == "hold":
        sendable -= set(unconfirmed)
    if not sendable:
        return QueueAction.WAIT_FOR_PROOF, None, []
    if settlement.attempt is None:
        # Nothing was handed over, so nothing is counted against it.
        delay_s = settlement.retry_in_s
        return (QueueAction.RELEASE if delay_s is None else QueueAction.RETRY), delay_s, []
    if settlement.fails_over:
        # At the time when it was due before, so that it keeps its turn.
        return QueueAction.RETRY, None, []
    delay_s = _retry_delay_s(settlement, stored, policy)
    if delay_s is not None:
        # Whom a look-up did not find has waited for it. Whoever was put off beside them has not.
        has_waited = _is_look_up(settlement) and sendable <= set(unconfirmed)
        return QueueAction.RETRY, None if has_waited else delay_s, []
    # Unconfirmed recipients may have the email: they stay listed as such, and never fail. Neither
    # does anybody that this handover was not for.
    named = {change.recipient_id for change in settlement.changes}
    waiting = [id_ for id_ in pending if id_ not in unconfirmed]
    gave_up = [id_ for id_ in waiting if id_ in named]
    if len(gave_up) < len(waiting):
        return QueueAction.RETRY, 0.0, gave_up
    return (QueueAction.WAIT_FOR_PROOF if unconfirmed else QueueAction.DELETE), None, gave_up


def _is_look_up(settlement: Settlement) -> bool:
    return settlement.attempt is not None and settlement.attempt.is_look_up


def _retry_delay_s(
    settlement: Settlement, stored: StoredEmail, policy: RetryPolicy
) -> float | None:
    asked = [
        change.retry_after_s for change in settlement.changes if change.retry_after_s is not None
    ]
    return next_delay_s(policy, stored.attempts_begun, max(asked, default=None))
