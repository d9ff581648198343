"""Lets held emails go on once their tenant is active and their domain verified."""

from collections import defaultdict
from uuid import UUID

import asyncpg

from tallypost_domain.db.arrays import columns
from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.emails.lifecycle import (
    RecipientEvent,
    RecipientStatus,
    next_status,
    roll_up,
)
from tallypost_domain.queue import record_statements as sql
from tallypost_domain.queue.claims import FIRST_FENCE_RELEASED
from tallypost_domain.queue.record_statements import Changes, EmailChange, Key, StatusChange, bounds
from tallypost_domain.queue.record_writes import event_row

_CHUNK = 200

# Only rows that are still held: another worker may release the same ones. The fence tells that the
# row was held, and stays below those of what is sent again.
_RELEASE_ROWS = f"""
    WITH held AS (
        SELECT q.tenant_id, q.email_id
        FROM send_queue q
        JOIN unnest($1::uuid[], $2::uuid[]) AS c (tenant_id, email_id)
            ON q.tenant_id = c.tenant_id AND q.email_id = c.email_id
        WHERE q.state = 'held'
        ORDER BY q.tenant_id, q.email_id
        FOR UPDATE OF q SKIP LOCKED
    )
    UPDATE send_queue q
    SET state = 'waiting', due_at = now(), fence = q.fence | {FIRST_FENCE_RELEASED}
    FROM held
    WHERE q.tenant_id = held.tenant_id AND q.email_id = held.email_id
    RETURNING q.tenant_id, q.email_id
"""  # noqa: S608 - a number


async def release_held(pool: Pool) -> int:
    """Make up to 200 held emails due whose cause is gone; returns how many."""
    with translated():
        listed = await pool.fetch("SELECT * FROM list_releasable_rows($1)", _CHUNK)
    if not listed:
        return 0
    async with transaction(pool, {row["tenant_id"] for row in listed}) as connection:
        rows = await connection.fetch(_RELEASE_ROWS, *columns(tuple(row) for row in listed))
        released: list[Key] = sorted(tuple(row) for row in rows)
        if released:
            await _release_recipients(connection, released)
    return len(released)


async def _release_recipients(connection: Connection, keys: list[Key]) -> None:
    between = bounds([email_id for _, email_id in keys])
    emails = await connection.fetch(sql.LOCK_EMAILS, *columns(keys), *between)
    statuses: dict[Key, dict[UUID, RecipientStatus]] = defaultdict(dict)
    for row in await connection.fetch(sql.LOCK_RECIPIENTS, *columns(keys), *between):
        statuses[_key(row)][row["id"]] = RecipientStatus(row["status"])
    after = {
        key: {id_: next_status(status, RecipientEvent.RELEASED) for id_, status in before.items()}
        for key, before in statuses.items()
    }
    changed = [
        (key, id_)
        for key in keys
        for id_, before in statuses[key].items()
        if after[key][id_] is not before
    ]
    mode = {_key(row): row["mode"] for row in emails}
    changes = Changes(
        emails=[
            EmailChange(
                *_key(row), expected=row["status"], status=roll_up(after[_key(row)].values())
            )
            for row in emails
        ],
        recipients=[
            StatusChange(*key, id=id_, expected=statuses[key][id_], status=after[key][id_])
            for key, id_ in changed
        ],
        events=[event_row(key, mode[key], "email.released", id_, {}) for key, id_ in changed],
    )
    await sql.record(connection, {tenant_id for tenant_id, _ in keys}, changes)


def _key(row: asyncpg.Record) -> Key:
    return row["tenant_id"], row["email_id"]
