"""Writes what was decided about a chunk of emails, and finds out whether it still holds."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from tallypost_domain.db.pools import Connection
from tallypost_domain.emails.lifecycle import RecipientEvent, RecipientStatus
from tallypost_domain.events.statements import NewEvent, insert_events
from tallypost_domain.queue import record_statements as sql
from tallypost_domain.queue.decisions import Decision, QueueAction
from tallypost_domain.queue.types import RecipientChange, Settlement, StoredEmail
from tallypost_domain.usage.statements import BillableRecipient, insert_usage

Key = tuple[UUID, UUID]
"""Tenant and email."""

_EVENT_TYPE: dict[RecipientEvent, str] = {
    RecipientEvent.ACCEPTED: "email.sent",
    RecipientEvent.REJECTED: "email.bounced",
    RecipientEvent.DEFERRED: "email.deferred",
    RecipientEvent.UNCONFIRMED: "email.unconfirmed",
    RecipientEvent.SUPPRESSED: "email.suppressed",
    RecipientEvent.HELD: "email.held",
    RecipientEvent.GAVE_UP: "email.failed",
}
_PARKED_AS = {QueueAction.HOLD: "held", QueueAction.WAIT_FOR_PROOF: "ambiguous"}


class RowsChanged(Exception):
    """A row is not as it was thought to be; roll back and decide anew."""


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

    @property
    def row_key(self) -> tuple[UUID, UUID, int, UUID]:
        """Of its queue row, with the fence and the worker that must still stand there."""
        claim = self.settlement.claim
        return claim.tenant_id, claim.email_id, claim.fence, self.settlement.worker_id


async def write(connection: Connection, decided: Sequence[Decided]) -> None:
    """Write everything that follows from the decisions, in the running transaction.

    Raises RowsChanged where a row has changed since; the transaction must then be rolled back.
    """
    if not decided:
        return
    # In one order for all writers: the statements lock rows as they meet them.
    ordered = sorted(decided, key=lambda item: item.key)
    await _write_queue(connection, ordered)
    await _write_emails(connection, ordered)
    await _write_recipients(connection, ordered)
    await _write_attempts(connection, ordered)
    await insert_events(connection, [event for item in ordered for event in _events(item)])
    await insert_usage(
        connection,
        [
            BillableRecipient(*item.key, recipient_id, attempt.provider)
            for item in ordered
            if item.stored.mode == "live" and (attempt := item.settlement.attempt) is not None
            for recipient_id in item.decision.accepted
        ],
    )


def bounds(keys: Iterable[tuple[UUID, UUID]]) -> tuple[UUID, UUID]:
    """The least and the greatest email id."""
    email_ids = [email_id for _, email_id in keys]
    return min(email_ids), max(email_ids)


# Any: rows of a statement's arguments differ in their types.
def columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """The rows turned into one array for each parameter."""
    return [list(column) for column in zip(*rows, strict=True)]


async def _write_queue(connection: Connection, decided: Sequence[Decided]) -> None:
    by_action: dict[QueueAction, list[Decided]] = defaultdict(list)
    for item in decided:
        by_action[item.decision.action].append(item)
    if items := by_action[QueueAction.CLEAR]:
        await connection.execute(sql.CLEAR_ROWS, *columns(item.key for item in items))
    if items := by_action[QueueAction.DELETE]:
        await _change(connection, sql.DELETE_ROWS, [item.row_key for item in items])
    if items := by_action[QueueAction.RETRY]:
        await _change(
            connection,
            sql.RETRY_ROWS,
            [
                (*item.row_key, item.decision.delay_s, item.settlement.attempt is None)
                for item in items
            ],
        )
    for action, state in _PARKED_AS.items():
        if items := by_action[action]:
            await _change(connection, sql.PARK_ROWS, [(*item.row_key, state) for item in items])


async def _write_emails(connection: Connection, decided: Sequence[Decided]) -> None:
    # Of two settlements of one email in a chunk the later one has the last word.
    changed: dict[Key, tuple[RecipientStatus, RecipientStatus]] = {}
    for item in decided:
        before, _ = changed.get(item.key, (item.stored.status, None))
        changed[item.key] = (before, item.decision.email_status)
    rows = [(*key, *statuses) for key, statuses in changed.items() if statuses[0] != statuses[1]]
    if rows:
        await _change(connection, sql.UPDATE_EMAILS, rows, *bounds(changed))


async def _write_recipients(connection: Connection, decided: Sequence[Decided]) -> None:
    # As for emails: what is expected is what the first found, what is written what the last says.
    expected: dict[UUID, RecipientStatus] = {}
    rows: dict[UUID, tuple[Any, ...]] = {}
    for item in decided:
        changes = {change.recipient_id: change for change in item.settlement.changes}
        for recipient_id, status in item.decision.statuses.items():
            change = changes.get(recipient_id)
            before = expected.setdefault(recipient_id, item.stored.statuses[recipient_id])
            rows[recipient_id] = (
                *item.key,
                recipient_id,
                before,
                status,
                change.detail if change else None,
                change.provider_message_id if change else None,
            )
    if rows:
        between = bounds(item.key for item in decided)
        await _change(connection, sql.UPDATE_RECIPIENTS, list(rows.values()), *between)


async def _write_attempts(connection: Connection, decided: Sequence[Decided]) -> None:
    attempts = [
        (
            *item.key,
            attempt.id,
            attempt.number,
            item.settlement.claim.fence,
            item.settlement.worker_id,
            attempt.provider,
            attempt.account,
            attempt.outcome,
            not item.stored.is_current,
            attempt.phase,
            _json(attempt.recipients),
            _json(attempt.evidence),
            attempt.provider_message_id,
            attempt.duration_s,
        )
        for item in decided
        if (attempt := item.settlement.attempt) is not None
    ]
    if attempts:
        await connection.execute(sql.INSERT_ATTEMPTS, *columns(attempts))


async def _change(
    connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]], *further: object
) -> None:
    """Change exactly as many rows as are given; raises RowsChanged."""
    status = await connection.execute(statement, *columns(rows), *further)
    # As `UPDATE 20`.
    if int(status.rpartition(" ")[2]) != len(rows):
        raise RowsChanged


def _events(item: Decided) -> list[NewEvent]:
    events = [
        _event(item, change, _EVENT_TYPE[change.event]) for change in item.decision.applied
    ] + [_event(item, change, "email.duplicate_suspected") for change in item.decision.doubled]
    for recipient_id in item.decision.gave_up:
        change = RecipientChange(
            recipient_id=recipient_id,
            event=RecipientEvent.GAVE_UP,
            data={"reason": "attempts_exhausted"},
        )
        events.append(_event(item, change, _EVENT_TYPE[change.event]))
    return events


def _event(item: Decided, change: RecipientChange, type_: str) -> NewEvent:
    attempt = item.settlement.attempt
    data: dict[str, object] = dict(change.data)
    if attempt is not None:
        data["attempt_id"] = str(attempt.id)
    return NewEvent(
        tenant_id=item.key[0],
        subject_id=item.key[1],
        mode=item.stored.mode,
        type=type_,
        recipient_id=change.recipient_id,
        data=data,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
