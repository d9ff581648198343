"""Sends again what waits for a person: dead letters, and parked mail that may have arrived.

Each call is one step, in one transaction that its caller commits; steps of a tenant go one after
the other. Workers are woken by the commit. Calling anything here again changes nothing.
"""

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import KeyRing
from tallypost_domain.audit import service as audit
from tallypost_domain.audit.types import Actor, Change
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.queue.dead_letters import DeadLetterFilter, matching
from tallypost_domain.queue.models import DeadLetterRow
from tallypost_domain.queue.requeue_choices import SkipReason as SkipReason
from tallypost_domain.queue.requeue_choices import lock
from tallypost_domain.queue.requeue_steps import Step, send_again, take_turn
from tallypost_domain.queue.unconfirmed import find_silent_attempts
from tallypost_providers.types import Mode

MAX_STEP = 1_000
"""Dead letters, or parked emails, of one step."""

_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


class Requeued(Struct, frozen=True, kw_only=True):
    """What a step did."""

    emails: int
    recipients: int
    skipped: Mapping[SkipReason, int]
    """Dead letters that were left, or parked emails; of such an email each suppressed recipient."""
    next: UUID | None = None
    """Where the next step of a filter starts; None where it is done."""


async def requeue(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    dead_letter_ids: Collection[UUID],
    *,
    actor: Actor,
    peppers: KeyRing,
) -> Requeued:
    """Send dead letters again, up to MAX_STEP of them, as if they had just been accepted.

    Raises ValueError for more.
    """
    wanted = _require_few(dead_letter_ids)
    await take_turn(session, tenant_id)
    found = await session.execute(
        select(DeadLetterRow.email_id, DeadLetterRow.recipient_id).where(
            *matching(tenant_id, mode, DeadLetterFilter()), DeadLetterRow.id.in_(wanted)
        )
    )
    letters = [(row.email_id, row.recipient_id) for row in found]
    step = await _send_letters(session, tenant_id, mode, letters, actor=actor, peppers=peppers)
    step.skipped[SkipReason.CHANGED_SINCE] += len(wanted) - len(letters)
    await _audit(session, tenant_id, mode, "dead_letters.requeued", step, actor)
    return _requeued(step)


async def requeue_matching(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    wanted: DeadLetterFilter,
    *,
    start: UUID,
    actor: Actor,
    peppers: KeyRing,
    limit: int = MAX_STEP,
) -> Requeued:
    """Send dead letters again that match, from start on to older ones.

    start is `DeadLetterCount.newest`, then `Requeued.next` of the step before; so what fails after
    it was counted is not taken, and steps come to an end whatever is skipped.
    """
    limit = min(limit, MAX_STEP)
    await take_turn(session, tenant_id)
    found = await session.execute(
        select(DeadLetterRow.id, DeadLetterRow.email_id, DeadLetterRow.recipient_id)
        .where(*matching(tenant_id, mode, wanted), DeadLetterRow.id <= start)
        .order_by(DeadLetterRow.id.desc())
        .limit(limit + 1)
    )
    rows = [(row.id, row.email_id, row.recipient_id) for row in found]
    taken = _whole_emails(rows, limit)
    letters = [(email_id, recipient_id) for _, email_id, recipient_id in taken]
    step = await _send_letters(session, tenant_id, mode, letters, actor=actor, peppers=peppers)
    await _audit(session, tenant_id, mode, "dead_letters.requeued", step, actor, _described(wanted))
    return _requeued(step, rows[len(taken)][0] if len(rows) > len(taken) else None)


async def resend_unconfirmed(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    seen: Mapping[UUID, UUID | None],
    *,
    actor: Actor,
    peppers: KeyRing,
) -> Requeued:
    """Send parked emails again to those of whom nobody knows whether they have it.

    They may get it twice: this is a person's decision. seen has the emails, each with the silent
    attempt that the person knew of, or None for whichever is the newest: what was silent once more
    since then is left. Takes up to MAX_STEP emails; raises ValueError for more.
    """
    _require_few(seen)
    await take_turn(session, tenant_id)
    # Locked before it is looked at, when no worker can add another attempt.
    await lock(session, tenant_id, seen)
    newest = await find_silent_attempts(session, tenant_id, seen)
    current = [
        email_id
        for email_id, attempt_id in seen.items()
        if attempt_id is None or (email_id in newest and newest[email_id].id == attempt_id)
    ]
    step = await send_again(
        session,
        tenant_id,
        mode,
        dict.fromkeys(current),
        RecipientStatus.UNCONFIRMED,
        actor=actor,
        peppers=peppers,
    )
    step.skipped[SkipReason.SILENT_AGAIN] += len(seen) - len(current)
    await _audit(session, tenant_id, mode, "unconfirmed.requeued", step, actor)
    return _requeued(step)


def _require_few(ids: Collection[UUID]) -> set[UUID]:
    wanted = set(ids)
    if len(wanted) > MAX_STEP:
        raise ValueError(f"{len(wanted)} at once are more than {MAX_STEP}")
    return wanted


def _whole_emails(
    rows: Sequence[tuple[UUID, UUID, UUID]], limit: int
) -> Sequence[tuple[UUID, UUID, UUID]]:
    """Those of this step: an email is not divided between two, unless it alone is too long."""
    if len(rows) <= limit:
        return rows
    end = limit
    while end and rows[end - 1][1] == rows[limit][1]:
        end -= 1
    return rows[: end or limit]


async def _send_letters(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    letters: Iterable[tuple[UUID, UUID]],
    *,
    actor: Actor,
    peppers: KeyRing,
) -> Step:
    candidates: dict[UUID, set[UUID]] = defaultdict(set)
    for email_id, recipient_id in letters:
        candidates[email_id].add(recipient_id)
    return await send_again(
        session,
        tenant_id,
        mode,
        candidates,
        RecipientStatus.FAILED,
        actor=actor,
        peppers=peppers,
    )


async def _audit(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    action: str,
    step: Step,
    actor: Actor,
    described: Mapping[str, Change] | None = None,
) -> None:
    if not step.email_ids:
        return
    is_one = len(step.email_ids) == 1
    await audit.record(
        session,
        tenant_id,
        action,
        actor=actor,
        subject_kind="email" if is_one else None,
        subject_id=step.email_ids[0] if is_one else None,
        changes={
            "mode": mode,
            "emails": len(step.email_ids),
            "recipients": step.recipients,
            "skipped": step.skipped.total(),
            **(described or {}),
        },
    )


def _described(wanted: DeadLetterFilter) -> dict[str, Change]:
    """The filter in words that may stand in an audit log for ever."""
    described: dict[str, Change] = {}
    for name in wanted.__struct_fields__:
        value = getattr(wanted, name)
        if isinstance(value, dt.datetime):
            value = value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if value is not None:
            word = str(value)
            # Streams are named by people; what is no word is left out.
            described[f"only_{name}"] = word if _WORD.fullmatch(word) else True
    return described


def _requeued(step: Step, next_start: UUID | None = None) -> Requeued:
    return Requeued(
        emails=len(step.email_ids),
        recipients=step.recipients,
        skipped=dict(+step.skipped),
        next=next_start,
    )
