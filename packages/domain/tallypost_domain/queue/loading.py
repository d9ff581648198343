"""Loads what claimed emails need to be sent, and checks again what was true at accept."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from tallypost_core.crypto import KeyRing
from tallypost_domain.db.arrays import columns
from tallypost_domain.db.pools import Connection, Pool, transaction
from tallypost_domain.emails.attachments import StoredAttachment
from tallypost_domain.emails.lifecycle import PENDING, RecipientStatus
from tallypost_domain.emails.types import RecipientKind, Tag
from tallypost_domain.queue.record_statements import ON_UNCONFIRMED
from tallypost_domain.queue.types import Claim
from tallypost_domain.suppressions.service import address_hashes
from tallypost_providers.types import Mode

# What claims of one round load at once; whatever is larger waits for its share of the memory.
_SMALL_BYTES = 64_000

# An unconfirmed recipient may have the email: it is sent to again only where its stream says so.
_SENDABLE_AGAIN = PENDING
_SENDABLE = PENDING - {RecipientStatus.UNCONFIRMED}

_EMAILS = f"""
    SELECT e.tenant_id, e.id AS email_id, e.mode, e.domain_id, e.from_header, e.from_address,
           e.to_header, e.cc_header, e.reply_to, e.subject, e.headers, e.tags, e.created_at,
           e.size_bytes, e.status, {ON_UNCONFIRMED} AS on_unconfirmed,
           c.email_id IS NOT NULL AS has_content, c.html, c.text, c.attachments,
           t.status AS tenant_status, d.status AS domain_status
    FROM unnest($1::uuid[], $2::uuid[]) AS w (tenant_id, email_id)
    JOIN emails e ON e.tenant_id = w.tenant_id AND e.id = w.email_id
    LEFT JOIN email_contents c
        ON c.tenant_id = e.tenant_id AND c.email_id = e.id AND e.size_bytes <= $5
       AND c.email_id BETWEEN $3 AND $4
    JOIN tenants t ON t.id = e.tenant_id
    LEFT JOIN domains d ON d.tenant_id = e.tenant_id AND d.id = e.domain_id
    LEFT JOIN streams s ON s.tenant_id = e.tenant_id AND s.name = e.stream
    WHERE e.id BETWEEN $3 AND $4
"""  # noqa: S608 - joined from constants

_CONTENT = """
    SELECT c.html, c.text, c.attachments FROM email_contents c
    WHERE c.tenant_id = $1 AND c.email_id = $2
"""

_RECIPIENTS = """
    SELECT r.email_id, r.id, r.kind, r.address, r.status
    FROM unnest($1::uuid[], $2::uuid[]) AS w (tenant_id, email_id)
    JOIN recipients r ON r.tenant_id = w.tenant_id AND r.email_id = w.email_id
    WHERE r.email_id BETWEEN $3 AND $4
    ORDER BY r.email_id, r.id
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
    """One recipient to send to now."""

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
    on_unconfirmed: str
    status: RecipientStatus
    statuses: Mapping[UUID, RecipientStatus]
    """Of all recipients, those included that have an end or must wait for proof."""
    hold_reason: str | None
    """Set where the tenant or its domain may not send now: `tenant_not_active`,
    `domain_not_verified`."""


async def load_claimed(pool: Pool, claims: Sequence[Claim], peppers: KeyRing) -> list[LoadedEmail]:
    """The emails of these claims, in the order of the claims."""
    if not claims:
        return []
    keys = ([claim.tenant_id for claim in claims], [claim.email_id for claim in claims])
    between = (min(keys[1]), max(keys[1]))
    async with transaction(pool, keys[0]) as connection:
        emails = {
            row["email_id"]: row
            for row in await connection.fetch(_EMAILS, *keys, *between, _SMALL_BYTES)
        }
        recipients: dict[UUID, list[asyncpg.Record]] = defaultdict(list)
        for row in await connection.fetch(_RECIPIENTS, *keys, *between):
            recipients[row["email_id"]].append(row)
        suppressed = await _find_suppressed(connection, emails, recipients, peppers)
    return [
        _loaded(claim, emails[claim.email_id], recipients[claim.email_id], suppressed)
        for claim in claims
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
    recipients: Mapping[UUID, Sequence[asyncpg.Record]],
    peppers: KeyRing,
) -> set[UUID]:
    wanted: dict[tuple[UUID, str, bytes], list[UUID]] = defaultdict(list)
    for email_id, email in emails.items():
        for row in recipients[email_id]:
            for hashed in address_hashes(peppers, row["address"]):
                wanted[(email["tenant_id"], email["mode"], hashed)].append(row["id"])
    if not wanted:
        return set()
    found = await connection.fetch(_SUPPRESSED, *columns(wanted))
    return {
        recipient_id
        for row in found
        for recipient_id in wanted[(row["tenant_id"], row["mode"], row["address_hash"])]
    }


def _loaded(
    claim: Claim,
    row: asyncpg.Record,
    recipients: Sequence[asyncpg.Record],
    suppressed: Collection[UUID],
) -> LoadedEmail:
    statuses = {to["id"]: RecipientStatus(to["status"]) for to in recipients}
    sendable = _SENDABLE_AGAIN if row["on_unconfirmed"] == "resend" else _SENDABLE
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
        tags=msgspec.convert(row["tags"], tuple[Tag, ...]) if row["tags"] else (),
        size_bytes=row["size_bytes"],
        content=_content(row) if row["has_content"] else None,
        created_at=row["created_at"],
        recipients=tuple(
            LoadedRecipient(to["id"], to["kind"], to["address"], to["id"] in suppressed)
            for to in recipients
            if statuses[to["id"]] in sendable
        ),
        on_unconfirmed=row["on_unconfirmed"],
        status=RecipientStatus(row["status"]),
        statuses=statuses,
        hold_reason=_hold_reason(row),
    )


def _content(row: asyncpg.Record) -> LoadedContent:
    return LoadedContent(
        html=row["html"],
        text=row["text"],
        attachments=(
            msgspec.convert(row["attachments"], tuple[StoredAttachment, ...])
            if row["attachments"]
            else ()
        ),
    )


def _hold_reason(row: asyncpg.Record) -> str | None:
    if row["tenant_status"] != "active":
        return "tenant_not_active"
    if row["domain_status"] != "verified":
        return "domain_not_verified"
    return None
