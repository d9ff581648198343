"""Records settlements and marks the next handovers, one transaction for a chunk of both.

Rows are locked in the order (tenant, email, recipient) that every writer keeps. A worker whose
lease is over changes no row that another holds: its result is put on record as late.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.emails.lifecycle import RecipientEvent, RecipientStatus
from tallypost_domain.events.statements import NewEvent, insert_events
from tallypost_domain.queue import record_statements as sql
from tallypost_domain.queue.decisions import Decision, QueueAction, StoredEmail, decide
from tallypost_domain.queue.types import Claim, RecipientChange, Settlement
from tallypost_domain.usage.statements import BillableRecipient, insert_usage
from tallypost_resilience.retry import RetryPolicy

Key = tuple[UUID, UUID]

_EVENT_TYPE: dict[RecipientEvent, str] = {
    RecipientEvent.ACCEPTED: "email.sent",
    RecipientEvent.REJECTED: "email.bounced",
    RecipientEvent.DEFERRED: "email.deferred",
    RecipientEvent.UNCONFIRMED: "email.unconfirmed",
    RecipientEvent.SUPPRESSED: "email.suppressed",
    RecipientEvent.HELD: "email.held",
    RecipientEvent.GAVE_UP: "email.failed",
}


class Recorded(Struct, frozen=True):
    """What a chunk did."""

    marked: tuple[Claim, ...]
    """Claims that may go to the wire now; their `attempt` counts this handover."""
    dead_letters: int
    """Recipients that failed because attempts are used up."""


class _Decided(Struct, frozen=True):
    settlement: Settlement
    mode: str
    is_late: bool
    decision: Decision


async def record_and_mark(
    pool: Pool,
    worker_id: UUID,
    settlements: Sequence[Settlement],
    claims: Sequence[Claim],
    policy: RetryPolicy,
) -> Recorded:
    """Write what happened, and mark claims as about to leave.

    A claim that is not in `marked` is no longer this worker's and must not be sent. Calling this
    again with the same settlements, after a commit of unknown fate, changes nothing.
    """
    keys = [_key(settlement.claim) for settlement in settlements]
    tenants = {tenant_id for tenant_id, _ in keys} | {claim.tenant_id for claim in claims}
    if not tenants:
        return Recorded((), 0)
    async with transaction(pool, tenants) as connection:
        decided = await _decide_all(connection, settlements, claims, policy)
        await _write(connection, decided)
        marked = await _mark(connection, worker_id, claims)
    return Recorded(marked, sum(len(item.decision.gave_up) for item in decided))


async def _decide_all(
    connection: Connection,
    settlements: Sequence[Settlement],
    claims: Sequence[Claim],
    policy: RetryPolicy,
) -> list[_Decided]:
    wanted = [settlement.claim for settlement in settlements]
    locked = await _fetch(connection, sql.LOCK_QUEUE_ROWS, [*wanted, *claims])
    rows = {(row["tenant_id"], row["email_id"]): row for row in locked}
    if not settlements:
        return []
    known = await _recorded_attempts(connection, settlements)
    emails = {
        (row["tenant_id"], row["id"]): row
        for row in await _fetch(connection, sql.LOCK_EMAILS, wanted)
    }
    statuses: dict[Key, dict[UUID, RecipientStatus]] = defaultdict(dict)
    for row in await _fetch(connection, sql.LOCK_RECIPIENTS, wanted):
        key = (row["tenant_id"], row["email_id"])
        statuses[key][row["id"]] = RecipientStatus(row["status"])
    decided = []
    for settlement in settlements:
        if settlement.attempt is not None and settlement.attempt.id in known:
            continue
        key = _key(settlement.claim)
        stored = _stored(settlement, rows.get(key), emails[key], statuses[key])
        if settlement.only_if_current and not stored.is_current:
            continue
        decision = decide(settlement, stored, policy)
        # Two settlements of one email may stand in one chunk; the second sees the first's work.
        statuses[key].update(decision.statuses)
        decided.append(_Decided(settlement, emails[key]["mode"], not stored.is_current, decision))
    return decided


def _stored(
    settlement: Settlement,
    row: asyncpg.Record | None,
    email: asyncpg.Record,
    statuses: Mapping[UUID, RecipientStatus],
) -> StoredEmail:
    is_current = (
        row is not None
        and row["worker_id"] == settlement.worker_id
        and row["fence"] == settlement.claim.fence
    )
    return StoredEmail(
        on_unconfirmed=email["on_unconfirmed"],
        attempts_begun=row["attempt"] if row is not None else 0,
        is_current=is_current,
        statuses=dict(statuses),
    )


async def _recorded_attempts(
    connection: Connection, settlements: Sequence[Settlement]
) -> set[UUID]:
    attempts = [
        (s.claim.tenant_id, s.claim.email_id, s.attempt.id)
        for s in settlements
        if s.attempt is not None
    ]
    if not attempts:
        return set()
    rows = await connection.fetch(sql.FIND_ATTEMPTS, *_columns(attempts))
    return {row["id"] for row in rows}


async def _write(connection: Connection, decided: Sequence[_Decided]) -> None:
    if not decided:
        return
    await _write_attempts(connection, decided)
    await _write_statuses(connection, decided)
    await insert_events(connection, [event for item in decided for event in _events(item)])
    await insert_usage(
        connection,
        [
            BillableRecipient(*_key(item.settlement.claim), recipient_id, attempt.provider)
            for item in decided
            if item.mode == "live" and (attempt := item.settlement.attempt) is not None
            for recipient_id in item.decision.accepted
        ],
    )
    await _write_queue(connection, decided)


async def _write_attempts(connection: Connection, decided: Sequence[_Decided]) -> None:
    attempts = [
        (
            *_key(item.settlement.claim),
            attempt.id,
            attempt.number,
            item.settlement.claim.fence,
            item.settlement.worker_id,
            attempt.provider,
            attempt.account,
            attempt.outcome.value,
            item.is_late,
            attempt.phase,
            msgspec.json.encode(attempt.recipients).decode(),
            msgspec.json.encode(attempt.evidence).decode(),
            attempt.provider_message_id,
            attempt.duration_s,
        )
        for item in decided
        if (attempt := item.settlement.attempt) is not None
    ]
    if attempts:
        await connection.execute(sql.INSERT_ATTEMPTS, *_columns(attempts))


async def _write_statuses(connection: Connection, decided: Sequence[_Decided]) -> None:
    # By key: of two settlements of one email in a chunk the later one has the last word, and an
    # UPDATE that met both would take either.
    recipients: dict[tuple[UUID, UUID, UUID], tuple[str, str | None, str | None]] = {}
    for item in decided:
        changes = {change.recipient_id: change for change in item.settlement.changes}
        for recipient_id, status in item.decision.statuses.items():
            change = changes.get(recipient_id)
            recipients[*_key(item.settlement.claim), recipient_id] = (
                status.value,
                change.detail if change else None,
                change.provider_message_id if change else None,
            )
    if recipients:
        await connection.execute(
            sql.UPDATE_RECIPIENTS, *_columns((*key, *values) for key, values in recipients.items())
        )
    emails = {_key(item.settlement.claim): item.decision.email_status.value for item in decided}
    await connection.execute(
        sql.UPDATE_EMAILS, *_columns((*key, status) for key, status in emails.items())
    )


async def _write_queue(connection: Connection, decided: Sequence[_Decided]) -> None:
    by_action: dict[QueueAction, list[_Decided]] = defaultdict(list)
    for item in decided:
        by_action[item.decision.action].append(item)
    if items := by_action[QueueAction.CLEAR]:
        await connection.execute(
            sql.CLEAR_ROWS, *_columns(_key(item.settlement.claim) for item in items)
        )
    if items := by_action[QueueAction.DELETE]:
        await connection.execute(sql.DELETE_ROWS, *_columns(_row_key(item) for item in items))
    if items := by_action[QueueAction.RETRY]:
        await connection.execute(
            sql.RETRY_ROWS,
            *_columns(
                (*_row_key(item), item.decision.delay_s, item.settlement.attempt is None)
                for item in items
            ),
        )
    for action, state in ((QueueAction.HOLD, "held"), (QueueAction.WAIT_FOR_PROOF, "ambiguous")):
        if items := by_action[action]:
            await connection.execute(
                sql.PARK_ROWS, *_columns((*_row_key(item), state) for item in items)
            )


async def _mark(
    connection: Connection, worker_id: UUID, claims: Sequence[Claim]
) -> tuple[Claim, ...]:
    if not claims:
        return ()
    rows = await connection.fetch(
        sql.MARK_HANDING_OVER,
        [claim.tenant_id for claim in claims],
        [claim.email_id for claim in claims],
        [claim.fence for claim in claims],
        [claim.attempt for claim in claims],
        worker_id,
    )
    return tuple(Claim(**dict(row)) for row in rows)


def _events(item: _Decided) -> list[NewEvent]:
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


def _event(item: _Decided, change: RecipientChange, type_: str) -> NewEvent:
    attempt = item.settlement.attempt
    data: dict[str, object] = dict(change.data)
    if attempt is not None:
        data["attempt_id"] = str(attempt.id)
    return NewEvent(
        tenant_id=item.settlement.claim.tenant_id,
        subject_id=item.settlement.claim.email_id,
        mode=item.mode,
        type=type_,
        recipient_id=change.recipient_id,
        data=data,
    )


async def _fetch(
    connection: Connection, statement: str, claims: Sequence[Claim]
) -> list[asyncpg.Record]:
    if not claims:
        return []
    return list(await connection.fetch(statement, *_columns(_key(claim) for claim in claims)))


def _key(claim: Claim) -> Key:
    return claim.tenant_id, claim.email_id


def _row_key(item: _Decided) -> tuple[UUID, UUID, int]:
    return (*_key(item.settlement.claim), item.settlement.claim.fence)


def _columns(rows: Any) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
