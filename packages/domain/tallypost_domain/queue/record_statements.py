"""SQL of recording, as named statements for asyncpg; see `records` for the order they run in.

Rows of partitioned tables are sought between the least and the greatest email id of the chunk, so
that the other partitions are not looked into.
"""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

import asyncpg
from msgspec import Struct

from tallypost_domain.db.arrays import counted_columns
from tallypost_domain.db.pools import Connection

Key = tuple[UUID, UUID]
"""Tenant and email."""

# The keys come in their order. Joined, the planner would go through the whole queue while it is
# short, and a connection keeps that plan when it has grown.
LOCK_QUEUE_ROWS = """
    SELECT q.*
    FROM unnest($1::uuid[], $2::uuid[]) AS c (tenant_id, email_id)
    CROSS JOIN LATERAL (
        SELECT q.tenant_id, q.email_id, q.worker_id, q.fence, q.attempt
        FROM send_queue q
        WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id
        FOR UPDATE
    ) q
"""

LOCK_EMAILS = """
    SELECT e.tenant_id, e.id AS email_id, e.mode, e.status,
           policy_of_unconfirmed(s.on_unconfirmed, e.lane) AS on_unconfirmed
    FROM emails e
    LEFT JOIN streams s ON s.tenant_id = e.tenant_id AND s.name = e.stream
    WHERE (e.tenant_id, e.id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
      AND e.id BETWEEN $3 AND $4
    ORDER BY e.tenant_id, e.id
    FOR UPDATE OF e
"""

LOCK_RECIPIENTS = """
    SELECT r.tenant_id, r.email_id, r.id, r.status
    FROM recipients r
    WHERE (r.tenant_id, r.email_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
      AND r.email_id BETWEEN $3 AND $4
    ORDER BY r.tenant_id, r.email_id, r.id
    FOR UPDATE
"""

FIND_ATTEMPTS = """
    SELECT a.id
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS w (tenant_id, email_id, id)
    JOIN attempts a ON a.tenant_id = w.tenant_id AND a.email_id = w.email_id AND a.id = w.id
    WHERE a.email_id BETWEEN $4 AND $5
"""

_CHANGED = "TP002"


class RowsChanged(Exception):
    """A row is not as it was thought to be; nothing was written, decide anew."""


class QueueChange(NamedTuple):
    """What becomes of a queue row that still shows the fence and the worker.

    A fate is `delete`, `mark`, `clear` or the state that the row gets; see the function.
    """

    tenant_id: UUID
    email_id: UUID
    fence: int
    worker_id: UUID
    fate: str
    delay_s: float | None = None
    is_unsent: bool = False


class EmailChange(NamedTuple):
    """A new status of an email."""

    tenant_id: UUID
    id: UUID
    expected: str
    status: str


class StatusChange(NamedTuple):
    """A new status of a recipient, and the words that go with it."""

    tenant_id: UUID
    email_id: UUID
    id: UUID
    expected: str
    status: str
    detail: str | None = None
    message_id: str | None = None
    billed_provider: str | None = None


class NewAttempt(NamedTuple):
    """A handover that has ended."""

    tenant_id: UUID
    email_id: UUID
    id: UUID
    number: int
    fence: int
    worker_id: UUID
    provider: str
    account: str
    outcome: str
    is_late: bool
    phase: str
    recipients: str
    evidence: str
    message_id: str | None
    duration_s: float


class NewEvent(NamedTuple):
    """An event of a recipient."""

    tenant_id: UUID
    subject_id: UUID
    id: UUID
    mode: str
    type: str
    recipient_id: UUID
    data: str


class Changes(Struct, kw_only=True):
    """What one call writes, each row as `record_settlements` names its columns and in their order.

    Rows that exist are given in the order (tenant, email, recipient), the one of all writers: they
    are locked as they are met.
    """

    queue: list[QueueChange] = []
    emails: list[EmailChange] = []
    recipients: list[StatusChange] = []
    attempts: list[NewAttempt] = []
    events: list[NewEvent] = []


_WIDTHS = {
    kind: len(kind._fields)
    for kind in (QueueChange, EmailChange, StatusChange, NewAttempt, NewEvent)
}
# Tenants and two bounds; and of each kind the number of rows with their columns.
_PARAMETERS = 3 + sum(1 + width for width in _WIDTHS.values())
# A function of the database, because one call waits for the network once; see its migration.
_RECORD = f"""
    SELECT * FROM record_settlements({", ".join(f"${n}" for n in range(1, _PARAMETERS + 1))})
"""  # noqa: S608 - numbers


async def record(
    connection: Connection, tenant_ids: Collection[UUID], changes: Changes
) -> set[tuple[UUID, int]]:
    """Write all of it, in the running transaction or else in one of its own.

    Returns email and fence of the rows that are marked. Raises RowsChanged where a row is not as
    it is expected to be: nothing was written then, and a transaction that was running must be
    rolled back.
    """
    sought = [row.id for row in changes.emails]
    sought += [row.email_id for row in changes.recipients]
    try:
        marked = await connection.fetch(
            _RECORD,
            list(tenant_ids),
            *bounds(sought),
            *counted_columns(changes.queue, _WIDTHS[QueueChange]),
            *counted_columns(changes.emails, _WIDTHS[EmailChange]),
            *counted_columns(changes.recipients, _WIDTHS[StatusChange]),
            *counted_columns(changes.attempts, _WIDTHS[NewAttempt]),
            *counted_columns(changes.events, _WIDTHS[NewEvent]),
        )
    except asyncpg.PostgresError as error:
        if error.sqlstate == _CHANGED:
            raise RowsChanged from error
        raise
    return {(row["marked_email_id"], row["marked_fence"]) for row in marked}


def bounds(email_ids: Collection[UUID]) -> tuple[UUID | None, UUID | None]:
    """The least and the greatest of them; None twice where there are none."""
    return min(email_ids, default=None), max(email_ids, default=None)
