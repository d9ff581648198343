"""One step of sending again: what may go is locked, decided on and written, all at once.

The order of locks is that of the workers: queue rows, emails, recipients, each by their keys. A
recipient that is sent to again is an ordinary pending one. So a late result of a handover before
still settles it, and the ledger, whose key is the recipient, counts it once.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import KeyRing
from tallypost_core.ids import new_id
from tallypost_domain.audit.types import Actor
from tallypost_domain.emails.lifecycle import (
    RecipientEvent,
    RecipientStatus,
    next_status,
    roll_up,
)
from tallypost_domain.emails.statements import QUEUE_CHANNEL
from tallypost_domain.queue import requeue_statements as sql
from tallypost_domain.suppressions.service import address_hashes
from tallypost_providers.types import Mode

PARKED = "ambiguous"

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
    """It does not wait for this any more, or there never was such a one."""


class Step(Struct, frozen=True):
    """What one step did."""

    email_ids: tuple[UUID, ...]
    recipients: int
    skipped: Counter[SkipReason]


class _Recipient(NamedTuple):
    address: str
    status: RecipientStatus


class _Locked(Struct, frozen=True):
    states: Mapping[UUID, str]
    """Of the queue rows that there are."""
    recipients: Mapping[UUID, Mapping[UUID, _Recipient]]
    """By email and id."""


async def take_turn(session: AsyncSession, tenant_id: UUID) -> None:
    """Wait until no other step of this tenant is under way; this one then goes on until commit."""
    await session.execute(sql.TAKE_TURN, {"name": f"tallypost.requeue:{tenant_id}"})


async def send_again(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    candidates: Candidates,
    source: RecipientStatus,
    *,
    actor: Actor,
    peppers: KeyRing,
) -> Step:
    """Let the candidates that have the status source be sent to, in this turn.

    With `unconfirmed` only emails are taken that are parked: the others are sent anyway.
    """
    skipped: Counter[SkipReason] = Counter()
    lanes = await _find_sendable(session, tenant_id, mode, candidates, skipped)
    locked = await _lock(session, tenant_id, lanes)
    chosen: list[Pair] = []
    for email_id in sorted(lanes):
        wanted = candidates[email_id]
        having = _having(source, locked, email_id, wanted)
        lacking = int(not having) if wanted is None else len(wanted) - len(having)
        skipped[SkipReason.CHANGED_SINCE] += lacking
        chosen += [(email_id, recipient_id) for recipient_id in having]
    suppressed = await _find_suppressed(session, tenant_id, mode, locked, chosen, peppers)
    skipped[SkipReason.SUPPRESSED] += len(suppressed)
    chosen = [pair for pair in chosen if pair not in suppressed]
    if chosen:
        await _write(session, tenant_id, chosen, lanes, locked)
        await _record_events(session, tenant_id, mode, chosen, source, actor)
        await _wake_workers(session, tenant_id, {lanes[email_id] for email_id, _ in chosen})
    return Step(_emails_of(chosen), len(chosen), +skipped)


async def _find_sendable(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    candidates: Candidates,
    skipped: Counter[SkipReason],
) -> dict[UUID, str]:
    """Lanes of the emails that could leave now; a worker looks again before they do."""
    found = await session.execute(
        sql.FIND_EMAILS, {**_parameters(tenant_id, candidates), "mode": mode}
    )
    emails = {row.id: row for row in found}
    lanes = {}
    for email_id, wanted in candidates.items():
        row = emails.get(email_id)
        reason = _obstacle(row)
        if reason is None and row is not None:
            lanes[email_id] = row.lane
        elif reason is not None:
            skipped[reason] += 1 if wanted is None else len(wanted)
    return lanes


# Any: the columns of a row.
def _obstacle(row: Row[Any] | None) -> SkipReason | None:
    if row is None:
        return SkipReason.CHANGED_SINCE
    if row.tenant_status != "active":
        return SkipReason.TENANT_NOT_ACTIVE
    if row.domain_status != "verified":
        return SkipReason.DOMAIN_NOT_VERIFIED
    return None if row.has_content else SkipReason.CONTENT_GONE


async def _lock(session: AsyncSession, tenant_id: UUID, email_ids: Collection[UUID]) -> _Locked:
    emails = _parameters(tenant_id, email_ids)
    rows = await session.execute(sql.LOCK_QUEUE_ROWS, emails)
    states = {row.email_id: row.state for row in rows}
    await session.execute(sql.LOCK_EMAILS, emails)
    recipients: dict[UUID, dict[UUID, _Recipient]] = defaultdict(dict)
    for row in await session.execute(sql.LOCK_RECIPIENTS, emails):
        status = RecipientStatus(row.status)
        recipients[row.email_id][row.id] = _Recipient(row.address, status)
    return _Locked(states, recipients)


def _having(
    source: RecipientStatus, locked: _Locked, email_id: UUID, wanted: Collection[UUID] | None
) -> list[UUID]:
    if source is RecipientStatus.UNCONFIRMED and locked.states.get(email_id) != PARKED:
        return []
    return [
        recipient_id
        for recipient_id, recipient in locked.recipients[email_id].items()
        if recipient.status is source and (wanted is None or recipient_id in wanted)
    ]


async def _find_suppressed(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    locked: _Locked,
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


async def _write(
    session: AsyncSession,
    tenant_id: UUID,
    chosen: Sequence[Pair],
    lanes: Mapping[UUID, str],
    locked: _Locked,
) -> None:
    after = {
        (email_id, recipient_id): next_status(recipient.status, RecipientEvent.REQUEUED)
        for email_id, recipient_id in chosen
        if (recipient := locked.recipients[email_id][recipient_id])
    }
    pairs = _parameters(tenant_id, [email_id for email_id, _ in chosen])
    pairs["recipient_ids"] = [recipient_id for _, recipient_id in chosen]
    await session.execute(
        sql.SET_RECIPIENTS, {**pairs, "statuses": [after[pair].value for pair in chosen]}
    )
    await session.execute(sql.DELETE_DEAD_LETTERS, pairs)
    changed = _emails_of(chosen)
    emails = _parameters(tenant_id, changed)
    emails["statuses"] = [
        roll_up(
            after.get((email_id, id_), recipient.status)
            for id_, recipient in locked.recipients[email_id].items()
        ).value
        for email_id in changed
    ]
    await session.execute(sql.SET_EMAILS, emails)
    await _queue(session, tenant_id, changed, lanes, locked)


async def _queue(
    session: AsyncSession,
    tenant_id: UUID,
    email_ids: Sequence[UUID],
    lanes: Mapping[UUID, str],
    locked: _Locked,
) -> None:
    """Let there be a queue row of each email that a worker may take.

    Its fence is one that no row of the email had before: else the worker that held that could
    record a result of then as one of now.
    """
    fence = await session.scalar(sql.NEXT_FENCE)
    missing = [email_id for email_id in email_ids if email_id not in locked.states]
    if missing:
        rows = _parameters(tenant_id, missing)
        rows |= {"lanes": [lanes[email_id] for email_id in missing], "fence": fence}
        await session.execute(sql.INSERT_QUEUE_ROWS, rows)
    # A row in another state is on its way, or held until its domain may send, and takes them along.
    parked = [email_id for email_id in email_ids if locked.states.get(email_id) == PARKED]
    if parked:
        rows = _parameters(tenant_id, parked) | {"fence": fence}
        await session.execute(sql.FREE_QUEUE_ROWS, rows)


async def _record_events(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    chosen: Sequence[Pair],
    source: RecipientStatus,
    actor: Actor,
) -> None:
    events = _parameters(tenant_id, [email_id for email_id, _ in chosen])
    events["recipient_ids"] = [recipient_id for _, recipient_id in chosen]
    events["event_ids"] = [new_id() for _ in chosen]
    data = {
        "was": source.value,
        "actor_kind": actor.kind,
        "actor_id": str(actor.id) if actor.id else None,
    }
    events |= {"mode": mode, "data": msgspec.json.encode(data).decode()}
    await session.execute(sql.INSERT_EVENTS, events)


async def _wake_workers(session: AsyncSession, tenant_id: UUID, lanes: Collection[str]) -> None:
    # They hear of it at commit.
    for lane in lanes:
        await session.execute(
            sql.WAKE_WORKERS, {"channel": QUEUE_CHANNEL, "payload": f"{lane} {tenant_id}"}
        )


def _emails_of(pairs: Iterable[Pair]) -> tuple[UUID, ...]:
    return tuple(dict.fromkeys(email_id for email_id, _ in pairs))


# Any: parameters of a statement.
def _parameters(tenant_id: UUID, email_ids: Collection[UUID]) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "email_ids": [*email_ids],
        "least": min(email_ids, default=None),
        "greatest": max(email_ids, default=None),
    }
