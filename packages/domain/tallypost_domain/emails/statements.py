"""SQL of accepting, as named statements for asyncpg; see `accept` for the order they run in."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec

from tallypost_domain.db.pools import Connection
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.rows import EmailRows
from tallypost_domain.emails.validation import size_bytes
from tallypost_domain.events.statements import NewEvent, insert_events

QUEUE_CHANNEL = "send_queue"
"""NOTIFY channel that wakes the workers; the payload is `<lane> <tenant id>`."""

# Without a conflict target: an insert-only role on a table under forced row-level security may
# name no columns there.
CLAIM_IDEMPOTENCY_KEY = """
    INSERT INTO idempotency_keys (tenant_id, mode, route, key, fingerprint, answer)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING
"""

FIND_ANSWER = """
    SELECT fingerprint, answer FROM idempotency_keys
    WHERE tenant_id = $1 AND mode = $2 AND route = $3 AND key = $4
"""

FIND_SUPPRESSED = """
    SELECT address_hash FROM suppressions
    WHERE tenant_id = $1 AND mode = $2 AND address_hash = ANY ($3::bytea[])
"""

_INSERT_EMAILS = """
    INSERT INTO emails (
        tenant_id, id, mode, api_key_id, domain_id, stream, lane, from_header, from_address,
        to_header, cc_header, bcc_header, reply_to, subject, headers, tags, size_bytes, status,
        scheduled_at
    )
    SELECT
        e.tenant_id, e.id, e.mode, e.api_key_id, e.domain_id, e.stream, e.lane, e.from_header,
        e.from_address, e.to_header::jsonb, e.cc_header::jsonb, e.bcc_header::jsonb,
        e.reply_to::jsonb, e.subject, e.headers::jsonb, e.tags::jsonb, e.size_bytes, e.status,
        e.scheduled_at
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
        $14::text[], $15::text[], $16::text[], $17::int[], $18::text[], $19::timestamptz[]
    ) AS e (
        tenant_id, id, mode, api_key_id, domain_id, stream, lane, from_header, from_address,
        to_header, cc_header, bcc_header, reply_to, subject, headers, tags, size_bytes, status,
        scheduled_at
    )
"""

_INSERT_RECIPIENTS = """
    INSERT INTO recipients (tenant_id, email_id, id, mode, kind, address, status)
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[]
    )
"""

_INSERT_CONTENTS = """
    INSERT INTO email_contents (tenant_id, email_id, html, text, attachments)
    SELECT c.tenant_id, c.email_id, c.html, c.text, c.attachments::jsonb
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[])
        AS c (tenant_id, email_id, html, text, attachments)
"""

_INSERT_QUEUE = """
    INSERT INTO send_queue (tenant_id, email_id, lane, due_at)
    SELECT tenant_id, email_id, lane, coalesce(scheduled_at, now())
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])
        AS q (tenant_id, email_id, lane, scheduled_at)
"""


async def insert_emails(connection: Connection, rows: Sequence[EmailRows]) -> None:
    """Insert emails with all that belongs to them, and wake the workers at commit."""
    if not rows:
        return
    await connection.execute(_INSERT_EMAILS, *_columns(_email_values(row) for row in rows))
    await connection.execute(
        _INSERT_RECIPIENTS,
        *_columns(
            (r.sender.tenant_id, r.id, to.id, r.sender.mode, to.kind, to.address, to.status.value)
            for r in rows
            for to in r.recipients
        ),
    )
    await connection.execute(
        _INSERT_CONTENTS,
        *_columns(
            (r.sender.tenant_id, r.id, r.email.html, r.email.text, _json(r.attachments))
            for r in rows
        ),
    )
    await insert_events(connection, _events(rows))
    sendable = [row for row in rows if row.is_sendable]
    if not sendable:
        return
    await connection.execute(
        _INSERT_QUEUE,
        *_columns((r.sender.tenant_id, r.id, r.origin.lane, r.scheduled_at) for r in sendable),
    )
    for lane, tenant_id in sorted(
        {(r.origin.lane, r.sender.tenant_id) for r in sendable if r.scheduled_at is None}
    ):
        await connection.execute("SELECT pg_notify($1, $2)", QUEUE_CHANNEL, f"{lane} {tenant_id}")


def _columns(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _json(value: object) -> str:
    # An array of jsonb cannot be passed: asyncpg takes lists in it for further dimensions.
    return msgspec.json.encode(value).decode()


def _email_values(row: EmailRows) -> tuple[object, ...]:
    email = row.email
    return (
        row.sender.tenant_id,
        row.id,
        row.sender.mode,
        row.sender.api_key_id,
        row.origin.domain_id,
        row.origin.stream,
        row.origin.lane,
        email.from_.header,
        email.from_.address,
        _json([address.header for address in email.to]),
        _json([address.header for address in email.cc]),
        _json([address.header for address in email.bcc]),
        _json([address.header for address in email.reply_to]),
        email.subject,
        _json(email.headers),
        _json(email.tags),
        size_bytes(email),
        row.status.value,
        row.scheduled_at,
    )


def _events(rows: Sequence[EmailRows]) -> list[NewEvent]:
    events: list[NewEvent] = []
    for row in rows:
        kind = "email.scheduled" if row.scheduled_at else "email.queued"
        events.append(_event(row, kind))
        events += [
            _event(row, "email.suppressed", recipient.id)
            for recipient in row.recipients
            if recipient.status is RecipientStatus.SUPPRESSED
        ]
    return events


def _event(row: EmailRows, type_: str, recipient_id: UUID | None = None) -> NewEvent:
    return NewEvent(
        tenant_id=row.sender.tenant_id,
        subject_id=row.id,
        mode=row.sender.mode,
        type=type_,
        recipient_id=recipient_id,
    )
