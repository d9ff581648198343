"""One step of sending again: what may go is locked, decided on and written, all at once.

A recipient that is sent to again is an ordinary pending one. So a late result of a handover before
still settles it, and the ledger, whose key is the recipient, counts it once.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from uuid import UUID

import msgspec
from msgspec import Struct
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
from tallypost_domain.queue.requeue_choices import (
    Candidates,
    Choice,
    Pair,
    SkipReason,
    choose,
    emails_of,
)
from tallypost_providers.types import Mode


class Step(Struct, frozen=True):
    """What one step did."""

    email_ids: tuple[UUID, ...]
    recipients: int
    skipped: Counter[SkipReason]


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
    choice = await choose(session, tenant_id, mode, candidates, source, peppers)
    chosen = choice.pairs
    if chosen:
        await _write(session, tenant_id, choice, source)
        await _record_events(session, tenant_id, mode, chosen, source, actor)
        lanes = {choice.lanes[email_id] for email_id, _ in chosen}
        await _wake_workers(session, tenant_id, lanes)
    return Step(emails_of(chosen), len(chosen), +choice.skipped)


async def _write(
    session: AsyncSession, tenant_id: UUID, choice: Choice, source: RecipientStatus
) -> None:
    chosen, recipients = choice.pairs, choice.locked.recipients
    after = {
        (email_id, id_): next_status(recipients[email_id][id_].status, RecipientEvent.REQUEUED)
        for email_id, id_ in chosen
    }
    pairs = sql.parameters(tenant_id, [email_id for email_id, _ in chosen])
    pairs["recipient_ids"] = [recipient_id for _, recipient_id in chosen]
    await session.execute(
        sql.SET_RECIPIENTS, {**pairs, "statuses": [after[pair].value for pair in chosen]}
    )
    if source is RecipientStatus.FAILED:
        await session.execute(sql.DELETE_DEAD_LETTERS, pairs)
    changed = emails_of(chosen)
    emails = sql.parameters(tenant_id, changed)
    emails["statuses"] = [
        roll_up(
            after.get((email_id, id_), recipient.status)
            for id_, recipient in recipients[email_id].items()
        ).value
        for email_id in changed
    ]
    await session.execute(sql.SET_EMAILS, emails)
    await _queue(session, tenant_id, changed, choice)


async def _queue(
    session: AsyncSession, tenant_id: UUID, email_ids: Sequence[UUID], choice: Choice
) -> None:
    """Let there be a queue row of each email that a worker may take.

    Its fence is one that no row of the email had before: else the worker that held that could
    record a result of then as one of now.
    """
    fence = await session.scalar(sql.NEXT_FENCE)
    missing = [email_id for email_id in email_ids if email_id not in choice.locked.states]
    if missing:
        rows = sql.parameters(tenant_id, missing)
        rows |= {"lanes": [choice.lanes[email_id] for email_id in missing], "fence": fence}
        await session.execute(sql.INSERT_QUEUE_ROWS, rows)
    # Those that wait, are held or are parked for other recipients begin anew with all of them.
    present = [email_id for email_id in email_ids if email_id in choice.locked.states]
    if present:
        rows = sql.parameters(tenant_id, present) | {"fence": fence}
        await session.execute(sql.FREE_QUEUE_ROWS, rows)


async def _record_events(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    chosen: Sequence[Pair],
    source: RecipientStatus,
    actor: Actor,
) -> None:
    events = sql.parameters(tenant_id, [email_id for email_id, _ in chosen])
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
