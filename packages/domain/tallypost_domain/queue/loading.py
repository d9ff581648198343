"""Loads what claimed emails need to be sent, and checks again what was true at accept."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from tallypost_core.crypto import KeyRing
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.emails.attachments import StoredAttachment
from tallypost_domain.emails.lifecycle import PENDING, RecipientStatus
from tallypost_domain.emails.types import RecipientKind, Tag
from tallypost_domain.queue.types import Claim
from tallypost_domain.suppressions.service import address_hashes
from tallypost_providers.types import Mode

# What claims of one round load at once; whatever is larger waits for its share of the memory.
_SMALL_BYTES = 64_000

# Whatever is pending, but for what may have arrived already.
_SENDABLE = sorted(PENDING - {RecipientStatus.UNCONFIRMED})

_EMAILS = """
    SELECT e.tenant_id, e.id AS email_id, e.mode, e.domain_id, e.from_header, e.from_address,
           e.to_header, e.cc_header, e.reply_to, e.subject, e.headers, e.tags, e.created_at,
           e.size_bytes, c.email_id IS NOT NULL AS has_content, c.html, c.text, c.attachments,
           t.status AS tenant_status, d.status AS domain_status
    FROM unnest($1::uuid[], $2::uuid[]) AS w (tenant_id, email_id)
    JOIN emails e ON e.tenant_id = w.tenant_id AND e.id = w.email_id
    LEFT JOIN email_contents c
        ON c.tenant_id = e.tenant_id AND c.email_id = e.id AND e.size_bytes <= $3
    JOIN tenants t ON t.id = e.tenant_id
    LEFT JOIN domains d ON d.tenant_id = e.tenant_id AND d.id = e.domain_id
"""

_CONTENT = """
    SELECT c.html, c.text, c.attachments FROM email_contents c
    WHERE c.tenant_id = $1 AND c.email_id = $2
"""

# An unconfirmed recipient is sent to again only where the stream's policy says so.
_RECIPIENTS = """
    SELECT r.tenant_id, r.email_id, r.id, r.kind, r.address
    FROM unnest($1::uuid[], $2::uuid[]) AS w (tenant_id, email_id)
    JOIN recipients r ON r.tenant_id = w.tenant_id AND r.email_id = w.email_id
    JOIN emails e ON e.tenant_id = r.tenant_id AND e.id = r.email_id
    LEFT JOIN streams s ON s.tenant_id = e.tenant_id AND s.name = e.stream
    WHERE r.status = ANY ($3::text[])
       OR (r.status = 'unconfirmed'
           AND coalesce(s.on_unconfirmed,
                        CASE e.lane WHEN 'bulk' THEN 'hold' ELSE 'resend' END) = 'resend')
    ORDER BY r.tenant_id, r.email_id, r.id
"""

_SUPPRESSED = """
    SELECT s.tenant_id, s.mode, s.address_hash
    FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS w (tenant_id, mode, address_hash)
    JOIN suppressions s USING (tenant_id, mode, address_hash)
"""


class LoadedContent(Struct, frozen=True):
    """Bodies of an email; a large attachment is named here and fetched from the object store."""

    html: str | None
    text: str | None
    attachments: tuple[StoredAttachment, ...]


class LoadedRecipient(Struct, frozen=True):
    """One recipient still to send to."""

    id: UUID
    kind: RecipientKind
    address: str
    is_suppressed: bool


class LoadedEmail(Struct, frozen=True, kw_only=True):
    """A claimed email as it is stored, and whether it may still be sent."""

    claim: Claim
    mode: Mode
    domain_id: UUID
    from_header: str
    from_address: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    reply_to: tuple[str, ...]
    subject: str
    headers: Mapping[str, str]
    tags: tuple[Tag, ...]
    size_bytes: int
    """Bodies and attachments."""
    content: LoadedContent | None
    """None for a large email: `load_content` brings it once there is memory for it."""
    created_at: dt.datetime
    recipients: tuple[LoadedRecipient, ...]
    hold_reason: str | None
    """Set where the tenant or its domain may not send now: `tenant_not_active`,
    `domain_not_verified`."""


async def load_claimed(pool: Pool, claims: Sequence[Claim], peppers: KeyRing) -> list[LoadedEmail]:
    """The emails of these claims, in the order of the claims."""
    if not claims:
        return []
    keys = ([claim.tenant_id for claim in claims], [claim.email_id for claim in claims])
    async with transaction(pool, keys[0]) as connection:
        rows = await connection.fetch(_EMAILS, *keys, _SMALL_BYTES)
        emails = {row["email_id"]: row for row in rows}
        recipients = await connection.fetch(_RECIPIENTS, *keys, _SENDABLE)
        suppressed = await _find_suppressed(connection, emails, recipients, peppers)
    by_email: dict[UUID, list[LoadedRecipient]] = defaultdict(list)
    for row in recipients:
        by_email[row["email_id"]].append(
            LoadedRecipient(row["id"], row["kind"], row["address"], row["id"] in suppressed)
        )
    return [
        _loaded(claim, emails[claim.email_id], tuple(by_email[claim.email_id])) for claim in claims
    ]


async def load_content(pool: Pool, claim: Claim) -> LoadedContent:
    """The bodies of one email; up to 40 MB of them."""
    async with transaction(pool, [claim.tenant_id]) as connection:
        row = await connection.fetchrow(_CONTENT, claim.tenant_id, claim.email_id)
    if row is None:
        raise LookupError(f"email {claim.email_id} has no content")
    return _content(row)


async def _find_suppressed(
    connection: Connection,
    emails: Mapping[UUID, asyncpg.Record],
    recipients: Sequence[asyncpg.Record],
    peppers: KeyRing,
) -> set[UUID]:
    wanted: dict[tuple[UUID, str, bytes], list[UUID]] = defaultdict(list)
    for row in recipients:
        mode = emails[row["email_id"]]["mode"]
        for hashed in address_hashes(peppers, row["address"]):
            wanted[(row["tenant_id"], mode, hashed)].append(row["id"])
    if not wanted:
        return set()
    columns = [list(column) for column in zip(*wanted, strict=True)]
    found = await connection.fetch(_SUPPRESSED, *columns)
    return {
        recipient_id
        for row in found
        for recipient_id in wanted[(row["tenant_id"], row["mode"], row["address_hash"])]
    }


def _loaded(
    claim: Claim, row: asyncpg.Record, recipients: tuple[LoadedRecipient, ...]
) -> LoadedEmail:
    return LoadedEmail(
        claim=claim,
        mode=row["mode"],
        domain_id=row["domain_id"],
        from_header=row["from_header"],
        from_address=row["from_address"],
        to=tuple(row["to_header"]),
        cc=tuple(row["cc_header"]),
        reply_to=tuple(row["reply_to"]),
        subject=row["subject"],
        headers=row["headers"],
        tags=msgspec.convert(row["tags"], tuple[Tag, ...]),
        size_bytes=row["size_bytes"],
        content=_content(row) if row["has_content"] else None,
        created_at=row["created_at"],
        recipients=recipients,
        hold_reason=_hold_reason(row),
    )


def _content(row: asyncpg.Record) -> LoadedContent:
    return LoadedContent(
        html=row["html"],
        text=row["text"],
        attachments=msgspec.convert(row["attachments"], tuple[StoredAttachment, ...]),
    )


def _hold_reason(row: asyncpg.Record) -> str | None:
    if row["tenant_status"] != "active":
        return "tenant_not_active"
    if row["domain_status"] != "verified":
        return "domain_not_verified"
    return None
