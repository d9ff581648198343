"""Loads what claimed emails need to be sent, and checks again what was true at accept."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from tallypost_core.crypto import KeyRing
from tallypost_domain.db.arrays import columns, counted_columns
from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Pool, transaction
from tallypost_domain.emails.attachments import StoredAttachment
from tallypost_domain.emails.lifecycle import PENDING, RecipientStatus
from tallypost_domain.emails.types import LOOK_UP_PLANNED, RecipientKind, Tag
from tallypost_domain.queue.claims import FIRST_FENCE_AGAIN
from tallypost_domain.queue.record_statements import bounds
from tallypost_domain.queue.types import Claim
from tallypost_domain.suppressions.service import address_hashes
from tallypost_providers.types import Mode, Outcome

# What claims of one round load at once; whatever is larger waits for its share of the memory.
_SMALL_BYTES = 64_000

# An unconfirmed recipient may have the email: it is sent to again only where its stream says so.
_SENDABLE_AGAIN = PENDING
_SENDABLE = PENDING - {RecipientStatus.UNCONFIRMED}

# Functions of the database, because one call waits for the network once; see their migration.
_EMAILS = "SELECT * FROM load_emails($1, $2, $3, $4, $5, $6, $7)"
_SUPPRESSED = "SELECT * FROM find_suppressed($1, $2, $3, $4, $5)"

# What an email's attempts say to whoever claims it again: which accounts refused it in this round,
# and who was silent. Handovers of one round have one number, and fences from where the row was last
# sent again; a look-up has a higher fence than the handover that it asks about.
_TOLD = f"""
    SELECT c.email_id, a.provider, a.account, a.outcome, a.is_look_up_planned,
           extract(epoch FROM now() - a.created_at)::float8 AS age_s
    FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bigint[])
        AS c (tenant_id, email_id, number, least_fence)
    CROSS JOIN LATERAL (
        SELECT a.provider, a.account, a.outcome, a.fence, a.created_at,
               a.evidence ? '{LOOK_UP_PLANNED}' AS is_look_up_planned
        FROM attempts a
        WHERE a.tenant_id = c.tenant_id AND a.email_id = c.email_id
          AND a.email_id BETWEEN $5 AND $6
          AND a.fence >= c.least_fence
          AND (
              a.outcome = 'ambiguous'
              OR a.attempt = c.number AND a.outcome IN ('throttled', 'suspended', 'unavailable')
          )
    ) a
    ORDER BY a.fence, a.created_at
"""  # noqa: S608 - a word

_CONTENT = """
    SELECT c.html, c.text, c.attachments FROM email_contents c
    WHERE c.tenant_id = $1 AND c.email_id = $2
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


class Silence(Struct, frozen=True, kw_only=True):
    """The last handover, where it got no answer and its provider is still to be asked about it."""

    provider: str
    account: str
    age_s: float
    """Since it was recorded, when the email was loaded."""
    recipients: Mapping[UUID, str]
    """Addresses of all who may have the email, whether or not they may be sent to again."""


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
    trace_context: str | None = None
    """Of the span that accepted it, where that was sampled."""
    refused_by: frozenset[str] = frozenset()
    """Accounts that said in this round that they did not take it."""
    silence: Silence | None = None
    """To be looked up before anything else becomes of the email."""
    is_partial: bool = False
    """Somebody whom To or Cc names is not to get it: settled before, or suppressed."""


async def load_claimed(pool: Pool, claims: Sequence[Claim], peppers: KeyRing) -> list[LoadedEmail]:
    """The emails of these claims, in the order of the claims."""
    if not claims:
        return []
    tenant_of = {claim.email_id: claim.tenant_id for claim in claims}
    tenant_ids = {*tenant_of.values()}
    keys = [(claim.tenant_id, claim.email_id) for claim in claims]
    with translated():
        rows = await pool.fetch(
            _EMAILS, tenant_ids, *bounds(tenant_of), _SMALL_BYTES, *counted_columns(keys, 2)
        )
        # By the email's id.
        emails = {row[0]: row for row in rows}
        suppressed = await _find_suppressed(pool, tenant_ids, tenant_of, rows, peppers)
        told = await _find_told(pool, claims)
    return [
        _loaded(claim, emails[claim.email_id], suppressed, told.get(claim.email_id, ()))
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
    pool: Pool,
    tenant_ids: Collection[UUID],
    tenant_of: Mapping[UUID, UUID],
    emails: Sequence[asyncpg.Record],
    peppers: KeyRing,
) -> set[UUID]:
    wanted: dict[tuple[UUID, str, bytes], list[UUID]] = defaultdict(list)
    for email in emails:
        tenant_id, mode = tenant_of[email["email_id"]], email["mode"]
        for recipient_id, address in zip(email["recipient_ids"], email["addresses"], strict=True):
            for hashed in address_hashes(peppers, address):
                wanted[(tenant_id, mode, hashed)].append(recipient_id)
    found = await pool.fetch(_SUPPRESSED, tenant_ids, *counted_columns([*wanted], 3))
    return {recipient_id for row in found for recipient_id in wanted[tuple(row)]}


async def _find_told(pool: Pool, claims: Sequence[Claim]) -> dict[UUID, list[asyncpg.Record]]:
    """By email, what its attempts say, oldest first. Asks nothing for first claims."""
    rounds = [
        (claim.tenant_id, claim.email_id, claim.attempt + 1, _least_fence(claim))
        for claim in claims
        if claim.fence > _least_fence(claim) + 1
    ]
    told: dict[UUID, list[asyncpg.Record]] = defaultdict(list)
    if rounds:
        between = bounds([email_id for _, email_id, _, _ in rounds])
        async with transaction(pool, {row[0] for row in rounds}) as connection:
            for row in await connection.fetch(_TOLD, *columns(rounds), *between):
                told[row["email_id"]].append(row)
    return told


def _least_fence(claim: Claim) -> int:
    return claim.fence // FIRST_FENCE_AGAIN * FIRST_FENCE_AGAIN


def _loaded(
    claim: Claim,
    row: asyncpg.Record,
    suppressed: Collection[UUID],
    told: Sequence[asyncpg.Record],
) -> LoadedEmail:
    statuses = dict(zip(row["recipient_ids"], map(RecipientStatus, row["statuses"]), strict=True))
    sendable = _SENDABLE_AGAIN if row["on_unconfirmed"] == "resend" else _SENDABLE
    people = [*zip(row["recipient_ids"], row["kinds"], row["addresses"], strict=True)]
    return LoadedEmail(
        claim=claim,
        mode=row["mode"],
        domain_id=row["domain_id"],
        from_header=row["from_header"],
        from_address=row["from_address"],
        to=tuple(row["to_header"]),
        cc=tuple(row["cc_header"] or ()),
        reply_to=tuple(row["reply_to"] or ()),
        subject=row["subject"],
        headers=row["headers"] or {},
        tags=msgspec.convert(row["tags"], tuple[Tag, ...]) if row["tags"] else (),
        size_bytes=row["size_bytes"],
        content=_content(row) if row["has_content"] else None,
        created_at=row["created_at"],
        recipients=tuple(
            LoadedRecipient(id_, kind, address, id_ in suppressed)
            for id_, kind, address in people
            if statuses[id_] in sendable
        ),
        on_unconfirmed=row["on_unconfirmed"],
        status=RecipientStatus(row["status"]),
        statuses=statuses,
        hold_reason=_hold_reason(row),
        trace_context=row["trace_context"],
        refused_by=frozenset(
            each["account"] for each in told if Outcome(each["outcome"]).may_fail_over
        ),
        silence=_find_silence(
            told,
            {
                id_: address
                for id_, _, address in people
                if statuses[id_] is RecipientStatus.UNCONFIRMED
            },
        ),
        is_partial=any(
            kind != "bcc" and (statuses[id_] not in sendable or id_ in suppressed)
            for id_, kind, _ in people
        ),
    )


def _find_silence(
    told: Sequence[asyncpg.Record], unconfirmed: Mapping[UUID, str]
) -> Silence | None:
    silent = [each for each in told if each["outcome"] == Outcome.AMBIGUOUS]
    # After a look-up in vain the last of them is that look-up.
    if not unconfirmed or not silent or not silent[-1]["is_look_up_planned"]:
        return None
    return Silence(
        provider=silent[-1]["provider"],
        account=silent[-1]["account"],
        age_s=silent[-1]["age_s"],
        recipients=unconfirmed,
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
