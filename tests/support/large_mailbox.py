"""Fills a tenant with as many emails as a busy one has in a week, by set-based inserts.

Shares are those of an ordinary sender: about 1 % bounced, 0.05 % complained, 0.3 % stopped before
they left, and some thousands still to be sent. Every email has the rows that the product would
have written, but for its content. Numbers count from the oldest email, 0, to the newest.
"""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from tallypost_domain.db.pools import Connection

BUSY_ADDRESS = "Ops@example.net"
"""A recipient of every twentieth email, as an address for alerts is."""

_AT_ONCE = 250_000
_TABLES = ("emails", "recipients", "attempts", "events", "send_queue")

# Of a table, or of each of its partitions.
_PARTS = """
    SELECT relid::regclass::text FROM pg_partition_tree($1::regclass) WHERE isleaf
    UNION SELECT $1::text WHERE NOT EXISTS (SELECT FROM pg_partition_tree($1::regclass))
"""


class Mailbox(Struct, frozen=True, kw_only=True):
    """What is to be made."""

    tenant_id: UUID
    api_key_ids: Sequence[UUID]
    count: int
    since: dt.datetime
    until: dt.datetime
    """Emails lie evenly between the two; there have to be partitions for them."""
    mode: str = "live"
    domain_id: UUID = UUID(int=0)
    kind: int = 0
    """Keeps the ids of mailboxes in one database apart, 0 to 255."""


# n is the number of an email, u spreads what is rare over all of them.
_NUMBERED = """
    CREATE TEMPORARY TABLE numbered AS
    SELECT n, u, moment, id, is_new, CASE
        WHEN n > $2::bigint - 3000 THEN
            (ARRAY['queued', 'queued', 'queued', 'scheduled', 'held'])[1 + n % 5]
        WHEN u >= 2000 AND u < 2100 AND n > $2::bigint * 2 / 3 THEN
            (ARRAY['deferred', 'deferred', 'unconfirmed'])[1 + n % 3]
        WHEN u < 1000 THEN 'bounced'
        WHEN u < 1050 THEN 'complained'
        WHEN u < 1150 THEN 'failed'
        WHEN u < 1300 THEN 'suppressed'
        WHEN u < 1350 THEN 'canceled'
        WHEN u % 10 = 0 THEN 'sent'
        ELSE 'delivered'
    END AS status
    FROM (
        SELECT n, (n * 7919) % 100000 AS u, m.moment, n > $2::bigint - 3000 AS is_new,
            (lpad(to_hex((extract(epoch FROM m.moment) * 1000)::bigint), 12, '0') || '7'
                || lpad(to_hex($5::int), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid AS id
        FROM generate_series($1::bigint, $6::bigint) AS n
        CROSS JOIN LATERAL (
            SELECT $3::timestamptz + ($4::timestamptz - $3::timestamptz) * (n::float8 / $2::bigint)
                AS moment
        ) m
    ) numbers
"""

_EMAILS = """
    INSERT INTO emails (
        tenant_id, id, mode, api_key_id, domain_id, stream, lane, from_header, from_address,
        to_header, cc_header, bcc_header, reply_to, subject, headers, tags, size_bytes, status,
        scheduled_at, created_at, updated_at
    )
    SELECT $1::uuid, id, $2::text, ($3::uuid[])[1 + n % cardinality($3::uuid[])], $4::uuid,
        s.stream, s.stream, 'Sample Sender <' || s.sender || '>', s.sender,
        jsonb_build_array('Reader ' || n % 200000 || ' <reader' || n % 200000 || '@example.net>'),
        '[]', '[]', '[]', s.subject || ' ' || n,
        '{}', jsonb_build_array(jsonb_build_object('name', 'campaign', 'value', s.campaign)),
        4000 + n % 3000, status, CASE status WHEN 'scheduled' THEN moment + interval '1 day' END,
        moment, moment + interval '1 second'
    FROM numbered CROSS JOIN LATERAL (
        SELECT CASE WHEN n % 3 = 0 THEN 'transactional' ELSE 'bulk' END AS stream,
            CASE WHEN n % 4 = 0 THEN 'hello@example.com' ELSE 'news@example.com' END AS sender,
            (ARRAY['Your receipt', 'Welcome aboard', 'News of the week',
                'Reset your password'])[1 + n % 4] AS subject,
            (ARRAY['welcome', 'autumn', 'winter'])[1 + n % 3] AS campaign
    ) s
    ORDER BY n
"""

# The second recipient of an email that bounced got it; one in twenty is the busy address.
_RECIPIENTS = """
    INSERT INTO recipients (tenant_id, email_id, id, mode, kind, address, status, updated_at)
    SELECT $1::uuid, id, overlay(id::text placing to_hex(r.k) from 16 for 1)::uuid, $2::text,
        CASE r.k WHEN 1 THEN 'to' ELSE 'cc' END,
        CASE WHEN r.k = 2 AND n % 20 = 0 THEN $3::text
             WHEN r.k = 2 THEN 'archive' || n % 1000 || '@example.net'
             WHEN n % 50 = 0 THEN 'Reader' || n % 200000 || '@example.net'
             ELSE 'reader' || n % 200000 || '@example.net' END,
        CASE WHEN r.k = 2 AND status IN ('bounced', 'complained', 'failed') THEN 'sent'
             ELSE status END,
        moment + interval '1 second'
    FROM numbered CROSS JOIN LATERAL (
        SELECT 1 AS k UNION ALL SELECT 2 WHERE n % 5 = 0
    ) r
    ORDER BY n, r.k
"""

_EVENTS = """
    INSERT INTO events (tenant_id, subject_id, id, mode, type, recipient_id, data, created_at)
    SELECT $1::uuid, id, overlay(id::text placing to_hex(v.k) from 16 for 1)::uuid, $2::text,
        'email.' || v.type, NULL, '{}',
        moment + interval '1 millisecond' * CASE v.k WHEN 1 THEN 0 ELSE 50 + n % 400 END
    FROM numbered CROSS JOIN LATERAL (
        SELECT 1 AS k, CASE status WHEN 'scheduled' THEN status ELSE 'queued' END AS type
        UNION ALL
        SELECT 2, 'sent' WHERE status IN ('sent', 'delivered', 'complained')
        UNION ALL
        SELECT 3, status WHERE status NOT IN ('scheduled', 'queued', 'sent')
    ) v
    ORDER BY n, v.k
"""

_ATTEMPTS = """
    INSERT INTO attempts (
        tenant_id, email_id, id, attempt, fence, worker_id, provider, account, outcome, phase,
        recipients, evidence, duration_s, created_at
    )
    SELECT $1::uuid, id, id, 1, 1, $2::uuid, 'smtp', 'relay',
        CASE status WHEN 'bounced' THEN 'rejected' WHEN 'deferred' THEN 'deferred'
            ELSE 'accepted' END,
        'final', jsonb_build_array(jsonb_build_object('outcome', 'accepted')), '{}', 0.04,
        moment + interval '1 millisecond' * (50 + n % 400)
    FROM numbered WHERE status IN ('sent', 'delivered', 'complained', 'bounced', 'deferred')
    ORDER BY n
"""

_QUEUE = """
    INSERT INTO send_queue (tenant_id, email_id, lane, due_at, state, fence, attempt, domain_id)
    SELECT $1::uuid, id, 'bulk', moment + interval '1 day',
        CASE status WHEN 'held' THEN 'held' WHEN 'unconfirmed' THEN 'ambiguous' ELSE 'waiting' END,
        (status IN ('held', 'deferred', 'unconfirmed'))::int,
        (status IN ('deferred', 'unconfirmed'))::int, $2::uuid
    FROM numbered WHERE status IN ('queued', 'scheduled', 'held', 'deferred', 'unconfirmed')
"""


async def fill_mailbox(connection: Connection, mailbox: Mailbox) -> None:
    """Store a mailbox, with the planner's statistics up to date; connection is a superuser's."""
    for table in _TABLES:
        # While it analyzes one table, the pages of all look as if somebody might not see them yet.
        for (part,) in await connection.fetch(_PARTS, table):
            await connection.execute(f"ALTER TABLE {part} SET (autovacuum_enabled = false)")
    last = mailbox.count - 1
    for first in range(0, mailbox.count, _AT_ONCE):
        async with connection.transaction():
            await connection.execute(
                _NUMBERED,
                first,
                last,
                mailbox.since,
                mailbox.until,
                mailbox.kind,
                min(last, first + _AT_ONCE - 1),
            )
            await _insert(connection, mailbox)
            await connection.execute("DROP TABLE numbered")
    for table in _TABLES:
        await connection.execute(f"VACUUM (ANALYZE) {table}")


async def _insert(connection: Connection, mailbox: Mailbox) -> None:
    tenant_id, mode = mailbox.tenant_id, mailbox.mode
    await connection.execute(_EMAILS, tenant_id, mode, list(mailbox.api_key_ids), mailbox.domain_id)
    await connection.execute(_RECIPIENTS, tenant_id, mode, BUSY_ADDRESS)
    await connection.execute(_EVENTS, tenant_id, mode)
    await connection.execute(_ATTEMPTS, tenant_id, UUID(int=0))
    await connection.execute(_QUEUE, tenant_id, mailbox.domain_id)
