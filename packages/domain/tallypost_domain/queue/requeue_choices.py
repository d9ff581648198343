"""Chooses who may be sent to again, and locks them with their emails and queue rows.

The order of locks is that of the workers: queue rows, emails, recipients, each by their keys.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import Struct
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import KeyRing
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.queue import requeue_statements as sql
from tallypost_domain.suppressions.service import address_hashes
from tallypost_providers.types import Mode

PARKED = "ambiguous"
"""The state of a row that waits for somebody's decision."""
WITH_A_WORKER = frozenset({"claimed", "handing_over"})
"""States of rows that a worker holds."""

Candidates = Mapping[UUID, Collection[UUID] | None]
"""Recipients by email; None stands for all of an email."""

Pair = tuple[UUID, UUID]
"""Email and recipient."""


class SkipReason(enum.StrEnum):
    """Why something was left as it is."""

    SUPPRESSED = "suppressed"
    DOMAIN_NOT_VERIFIED = "domain_not_verified"
    TENANT_NOT_ACTIVE = "tenant_not_active"
    CONTENT_GONE = "content_gone"
    CHANGED_SINCE = "changed_since"
    """It does not wait for this any more, there never was such a one, or a worker has its email
    just now."""
    SILENT_AGAIN = "silent_again"
    """It was sent again meanwhile, and nobody knows of that handover either."""
    BESIDE_UNCONFIRMED = "beside_unconfirmed"
    """Another recipient of the email may have it, and would be sent to again with this one."""


class FoundEmail(NamedTuple):
    """An email that could leave."""

    lane: str
    on_unconfirmed: str


class LockedRecipient(NamedTuple):
    """A recipient whose status nobody else can change."""

    address: str
    status: RecipientStatus


class Locked(Struct, frozen=True):
    """What is locked until the transaction ends."""

    states: Mapping[UUID, str]
    """Of the queue rows that there are."""
    recipients: Mapping[UUID, Mapping[UUID, LockedRecipient]]
    """By email and id."""


class Choice(Struct, frozen=True):
    """Who is to be sent to again."""

    pairs: Sequence[Pair]
    lanes: Mapping[UUID, str]
    """Of these emails, and perhaps of others."""
    locked: Locked
    skipped: Counter[SkipReason]


async def choose(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    candidates: Candidates,
    source: RecipientStatus,
    peppers: KeyRing,
) -> Choice:
    """Those candidates that have the status source, and that nothing stands in the way of.

    With `unconfirmed` only emails are taken that are parked: the others are sent anyway.
    """
    skipped: Counter[SkipReason] = Counter()
    emails = await _find_sendable(session, tenant_id, mode, candidates, skipped)
    locked = await lock(session, tenant_id, emails)
    chosen: list[Pair] = []
    for email_id in sorted(emails):
        wanted = candidates[email_id]
        having = _having(source, locked, email_id, wanted)
        lacking = int(not having) if wanted is None else len(wanted) - len(having)
        skipped[SkipReason.CHANGED_SINCE] += lacking
        chosen += [(email_id, recipient_id) for recipient_id in having]
    beside = _beside(emails, locked, chosen)
    asked = [*chosen, *beside]
    suppressed = await _find_suppressed(session, tenant_id, mode, locked, asked, peppers)
    # Nobody sends to those that are suppressed.
    in_doubt = {email_id for email_id, _ in beside - suppressed}
    chosen = _without(chosen, suppressed.__contains__, SkipReason.SUPPRESSED, skipped)
    chosen = _without(
        chosen, lambda pair: pair[0] in in_doubt, SkipReason.BESIDE_UNCONFIRMED, skipped
    )
    lanes = {email_id: email.lane for email_id, email in emails.items()}
    return Choice(chosen, lanes, locked, skipped)


async def lock(session: AsyncSession, tenant_id: UUID, email_ids: Collection[UUID]) -> Locked:
    """Let nobody else change these emails and their recipients until the transaction ends."""
    emails = sql.parameters(tenant_id, email_ids)
    rows = await session.execute(sql.LOCK_QUEUE_ROWS, emails)
    states = {row.email_id: row.state for row in rows}
    await session.execute(sql.LOCK_EMAILS, emails)
    recipients: dict[UUID, dict[UUID, LockedRecipient]] = defaultdict(dict)
    for row in await session.execute(sql.LOCK_RECIPIENTS, emails):
        status = RecipientStatus(row.status)
        recipients[row.email_id][row.id] = LockedRecipient(row.address, status)
    return Locked(states, recipients)


def emails_of(pairs: Iterable[Pair]) -> tuple[UUID, ...]:
    """The emails, each once, in the order of the pairs."""
    return tuple(dict.fromkeys(email_id for email_id, _ in pairs))


async def _find_sendable(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    candidates: Candidates,
    skipped: Counter[SkipReason],
) -> dict[UUID, FoundEmail]:
    """The emails that could leave now; a worker looks again before they do."""
    found = await session.execute(
        sql.FIND_EMAILS, {**sql.parameters(tenant_id, candidates), "mode": mode}
    )
    rows = {row.id: row for row in found}
    emails = {}
    for email_id, wanted in candidates.items():
        row = rows.get(email_id)
        reason = _obstacle(row)
        if reason is None and row is not None:
            emails[email_id] = FoundEmail(row.lane, row.on_unconfirmed)
        elif reason is not None:
            skipped[reason] += 1 if wanted is None else len(wanted)
    return emails


# Any: the columns of a row.
def _obstacle(row: Row[Any] | None) -> SkipReason | None:
    if row is None:
        return SkipReason.CHANGED_SINCE
    if row.tenant_status != "active":
        return SkipReason.TENANT_NOT_ACTIVE
    if row.domain_status != "verified":
        return SkipReason.DOMAIN_NOT_VERIFIED
    return None if row.has_content else SkipReason.CONTENT_GONE


def _having(
    source: RecipientStatus, locked: Locked, email_id: UUID, wanted: Collection[UUID] | None
) -> list[UUID]:
    state = locked.states.get(email_id)
    # What a worker has was not loaded with them, and its result must not decide about them.
    if state in WITH_A_WORKER or (source is RecipientStatus.UNCONFIRMED and state != PARKED):
        return []
    return [
        recipient_id
        for recipient_id, recipient in locked.recipients[email_id].items()
        if recipient.status is source and (wanted is None or recipient_id in wanted)
    ]


def _beside(
    emails: Mapping[UUID, FoundEmail], locked: Locked, chosen: Collection[Pair]
) -> set[Pair]:
    """Whom nobody chose, and whom a worker would send to again though they may have the email."""
    return {
        (email_id, recipient_id)
        for email_id in emails_of(chosen)
        if emails[email_id].on_unconfirmed == "resend"
        for recipient_id, recipient in locked.recipients[email_id].items()
        if recipient.status is RecipientStatus.UNCONFIRMED
    }.difference(chosen)


def _without(
    chosen: Sequence[Pair],
    is_left: Callable[[Pair], bool],
    reason: SkipReason,
    skipped: Counter[SkipReason],
) -> list[Pair]:
    going = [pair for pair in chosen if not is_left(pair)]
    skipped[reason] += len(chosen) - len(going)
    return going


async def _find_suppressed(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    locked: Locked,
    chosen: Collection[Pair],
    peppers: KeyRing,
) -> set[Pair]:
    pairs_of: dict[bytes, list[Pair]] = defaultdict(list)
    for email_id, recipient_id in chosen:
        address = locked.recipients[email_id][recipient_id].address
        for hashed in address_hashes(peppers, address):
            pairs_of[hashed].append((email_id, recipient_id))
    found = await session.scalars(
        sql.FIND_SUPPRESSED, {"tenant_id": tenant_id, "mode": mode, "address_hashes": [*pairs_of]}
    )
    return {pair for hashed in found for pair in pairs_of[hashed]}
