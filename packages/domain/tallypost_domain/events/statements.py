"""Writes events from the hot path, many in one statement."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from msgspec import Struct

from tallypost_core.ids import new_id
from tallypost_domain.db.pools import Connection

_INSERT = """
    INSERT INTO events (tenant_id, subject_id, id, mode, type, recipient_id, data)
    SELECT e.tenant_id, e.subject_id, e.id, e.mode, e.type, e.recipient_id, e.data::jsonb
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::text[]
    ) AS e (tenant_id, subject_id, id, mode, type, recipient_id, data)
"""


class NewEvent(Struct, frozen=True, kw_only=True):
    """One event to write; type is in the past tense, such as `email.sent`."""

    tenant_id: UUID
    subject_id: UUID
    mode: str
    type: str
    recipient_id: UUID | None = None
    data: dict[str, object] = {}


async def insert_events(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Append events in the running transaction; each gets an id of its own."""
    if not events:
        return
    await connection.execute(
        _INSERT,
        [event.tenant_id for event in events],
        [event.subject_id for event in events],
        [new_id() for _ in events],
        [event.mode for event in events],
        [event.type for event in events],
        [event.recipient_id for event in events],
        [msgspec.json.encode(event.data).decode() for event in events],
    )
