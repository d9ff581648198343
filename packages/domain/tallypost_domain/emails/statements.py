"""SQL of accepting, as named statements for asyncpg; see `storing` for the order they run in."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

import msgspec

from tallypost_core.ids import new_id
from tallypost_domain.db.arrays import Row, columns, counted_columns
from tallypost_domain.db.pools import Connection
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.rows import EmailRows
from tallypost_domain.emails.types import Acceptance, Address, Idempotency, Sender
from tallypost_domain.usage.quotas import Lease

QUEUE_CHANNEL = "send_queue"
"""NOTIFY channel that wakes the workers; the payload is `<lane> <tenant id>`."""

# Values in a row of keys, addresses, leases, emails and recipients.
_WIDTHS = (6, 3, 4, 24, 8)
# Tenants, the longest wait, channel and payloads; and of each group the rows with their columns.
_PARAMETERS = 4 + sum(1 + width for width in _WIDTHS)
# A function of the database, because one call waits for the network once; see its migration.
_ACCEPT_EMAILS = f"SELECT accept_emails({', '.join(f'${n}' for n in range(1, _PARAMETERS + 1))})"

NOT_ALL_NEW = "TP001"
"""SQLSTATE of `accept_emails` where something has to be decided first; nothing is stored then."""

# Without a conflict target: under forced row-level security only a role with more rights may name
# columns there.
_CLAIM_KEYS = """
    INSERT INTO idempotency_keys (tenant_id, mode, route, key, fingerprint, answer)
    SELECT k.tenant_id, k.mode, k.route, k.key, k.fingerprint, k.answer::jsonb
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[])
        AS k (tenant_id, mode, route, key, fingerprint, answer)
    ON CONFLICT DO NOTHING
"""

_FIND_ANSWERS = """
    SELECT i.tenant_id, i.mode, i.route, i.key, i.fingerprint, i.answer
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS k (tenant_id, mode, route, key)
    JOIN idempotency_keys i USING (tenant_id, mode, route, key)
"""

_FIND_SUPPRESSED = """
    SELECT s.tenant_id, s.mode, s.address_hash
    FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS a (tenant_id, mode, address_hash)
    JOIN suppressions s USING (tenant_id, mode, address_hash)
"""


class KeyRow(NamedTuple):
    """What an idempotency key is unique by; sorts in the same order in every process."""

    tenant_id: UUID
    mode: str
    route: str
    key: str


class Claim(NamedTuple):
    """An idempotency key as a request claims it."""

    row: KeyRow
    fingerprint: bytes

    @classmethod
    def of(cls, sender: Sender, idempotency: Idempotency) -> "Claim":
        """What a request claims."""
        row = KeyRow(sender.tenant_id, sender.mode, idempotency.route, idempotency.key)
        return cls(row, idempotency.fingerprint)


class SuppressibleAddress(NamedTuple):
    """An address of a tenant and mode, by its hash."""

    tenant_id: UUID
    mode: str
    hash: bytes


class StoredAnswer(NamedTuple):
    """The answer to the first request with a key."""

    fingerprint: bytes
    answer: Acceptance


async def accept_emails(
    connection: Connection,
    rows: Sequence[tuple[Sender, EmailRows]],
    *,
    tenant_ids: Collection[UUID],
    wait_ms: int,
    claims: Sequence[tuple[Claim, Acceptance]] = (),
    addresses: Collection[SuppressibleAddress] = (),
    units: Mapping[Lease, int] = MappingProxyType({}),
) -> None:
    """Store emails with all that belongs to them, and wake the workers at commit.

    claims are keys to claim, sorted and without a repeat; addresses must not be suppressed; units
    are spent from leases, which are sorted by tenant. Raises a PostgresError of NOT_ALL_NEW where
    one of these cannot be: then nothing was done.
    """
    awaited = {
        f"{row.item.origin.lane} {sender.tenant_id}"
        for sender, row in rows
        if row.scheduled_at is None and row.is_sendable
    }
    groups: tuple[Sequence[Row], ...] = (
        _claim_rows(claims),
        [*addresses],
        [(*lease.key, count) for lease, count in units.items()],
        [_email_values(sender, row) for sender, row in rows],
        [*_recipient_values(rows)],
    )
    counted = (counted_columns(group, width) for group, width in zip(groups, _WIDTHS, strict=True))
    await connection.execute(
        _ACCEPT_EMAILS,
        list(tenant_ids),
        wait_ms,
        QUEUE_CHANNEL,
        sorted(awaited),
        *chain.from_iterable(counted),
    )


async def claim_keys(connection: Connection, claims: Sequence[tuple[Claim, Acceptance]]) -> bool:
    """Take the keys that nobody has, with their answers; True where those were all.

    Waits for what others are about to take. claims are sorted, without a repeat.
    """
    rows = _claim_rows(claims)
    return str(await connection.execute(_CLAIM_KEYS, *columns(rows))) == f"INSERT 0 {len(claims)}"


async def find_answers(
    connection: Connection, rows: Iterable[KeyRow]
) -> dict[KeyRow, StoredAnswer]:
    """The answers that belong to keys; a key that was never claimed has none."""
    found = await connection.fetch(_FIND_ANSWERS, *columns(rows))
    return {
        KeyRow(row["tenant_id"], row["mode"], row["route"], row["key"]): StoredAnswer(
            row["fingerprint"], msgspec.convert(row["answer"], Acceptance)
        )
        for row in found
    }


async def find_suppressed(
    connection: Connection, addresses: Collection[SuppressibleAddress]
) -> list[SuppressibleAddress]:
    """Those of the addresses that nothing may be sent to."""
    if not addresses:
        return []
    found = await connection.fetch(_FIND_SUPPRESSED, *columns(addresses))
    return [SuppressibleAddress(*row) for row in found]


def _claim_rows(claims: Sequence[tuple[Claim, Acceptance]]) -> list[Row]:
    return [(*claim.row, claim.fingerprint, _json(answer)) for claim, answer in claims]


def _json(value: object) -> str:
    # An array of jsonb cannot be passed: asyncpg takes lists in it for further dimensions.
    return msgspec.json.encode(value).decode()


def _recipient_values(
    rows: Sequence[tuple[Sender, EmailRows]],
) -> Iterator[tuple[object, ...]]:
    for sender, row in rows:
        for to, status in zip(row.item.addressees, row.statuses, strict=True):
            yield (
                sender.tenant_id,
                row.item.id,
                to.id,
                sender.mode,
                to.kind,
                to.address,
                status.value,
                new_id() if status is RecipientStatus.SUPPRESSED else None,
            )


def _headers(addresses: Sequence[Address]) -> str:
    return _json([address.header for address in addresses]) if addresses else "[]"


def _email_values(sender: Sender, row: EmailRows) -> tuple[object, ...]:
    item = row.item
    email = item.email
    return (
        sender.tenant_id,
        item.id,
        sender.mode,
        sender.api_key_id,
        item.origin.domain_id,
        item.origin.stream,
        item.origin.lane,
        email.from_.header,
        email.from_.address,
        _headers(email.to),
        _headers(email.cc),
        _headers(email.bcc),
        _headers(email.reply_to),
        email.subject,
        _json(email.headers) if email.headers else "{}",
        _json(email.tags) if email.tags else "[]",
        item.size_bytes,
        row.status.value,
        row.scheduled_at,
        email.html,
        email.text,
        _json(item.attachments) if item.attachments else "[]",
        new_id(),
        item.trace_context,
    )
