"""Decisions about an email of which nobody knows whether it arrived: send it again, or settle it.

Each is one step, in one transaction that its caller commits; steps of a tenant go one after the
other. Calling one again changes nothing.
"""

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import and_, delete, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import KeyRing
from tallypost_core.ids import new_id
from tallypost_domain.audit import service as audit
from tallypost_domain.audit.types import Actor
from tallypost_domain.emails.errors import EmailNotFound
from tallypost_domain.emails.lifecycle import (
    PENDING,
    RecipientEvent,
    RecipientStatus,
    next_status,
    roll_up,
)
from tallypost_domain.emails.models import Email, QueueRow
from tallypost_domain.emails.service import list_attempts
from tallypost_domain.emails.views import AttemptView
from tallypost_domain.events.models import Event
from tallypost_domain.queue import requeue_statements as sql
from tallypost_domain.queue.errors import (
    AttemptSuperseded,
    CannotBeResent,
    EmailUnderWay,
    NothingUnconfirmed,
    NotParked,
)
from tallypost_domain.queue.requeue_choices import PARKED, WITH_A_WORKER, SkipReason, lock
from tallypost_domain.queue.requeue_steps import take_turn
from tallypost_domain.queue.requeueing import Requeued, resend_unconfirmed
from tallypost_domain.queue.unconfirmed import find_silent_attempts
from tallypost_domain.usage.models import LedgerEntry
from tallypost_providers.types import Mode, Outcome

_REQUEUED = "email.requeued"
_UNKNOWN_PROVIDER = "unknown"
_ARRIVED = frozenset({RecipientStatus.SENT, RecipientStatus.DELIVERED})

_WHY_NOT: dict[SkipReason, str] = {
    SkipReason.SUPPRESSED: "Its unconfirmed recipients are on the suppression list by now.",
    SkipReason.DOMAIN_NOT_VERIFIED: "Its sending domain is not verified.",
    SkipReason.TENANT_NOT_ACTIVE: "The account is not active.",
    SkipReason.CONTENT_GONE: "Its content is not stored any more.",
}


class SettledAs(enum.StrEnum):
    """What somebody says about an email that may have arrived: the status that it gets."""

    SENT = RecipientStatus.SENT
    """It arrived. It is billed as if the provider had said so."""
    CANCELED = RecipientStatus.CANCELED
    """It did not arrive, and is not to be sent again. It is not billed."""


SETTLED_EVENTS: Final[Mapping[SettledAs, str]] = {
    SettledAs.SENT: "email.settled",
    SettledAs.CANCELED: "email.canceled",
}
"""The event that somebody said so about an unconfirmed recipient."""

_MEANING: Final[Mapping[SettledAs, RecipientEvent]] = {
    SettledAs.SENT: RecipientEvent.ACCEPTED,
    SettledAs.CANCELED: RecipientEvent.CANCELED,
}


def is_settlement(type_: str, data: Mapping[str, object]) -> bool:
    """Whether an event is one of these; scheduled mail that is canceled has the same type."""
    return type_ in SETTLED_EVENTS.values() and data.get("was") == RecipientStatus.UNCONFIRMED


class Settled(Struct, frozen=True):
    """What a settlement by hand did."""

    status: RecipientStatus
    """Of the email."""
    recipients: int
    """That were settled by it."""


async def resend(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    email_id: UUID,
    *,
    actor: Actor,
    peppers: KeyRing,
    attempt_id: UUID | None = None,
) -> Requeued:
    """Send a parked email again to those who may have it: they may get it twice.

    Once that is done, another call does nothing until the email is parked anew. One that names the
    silent attempt that it is about does nothing then either. Raises EmailNotFound,
    NothingUnconfirmed, NotParked, EmailUnderWay, CannotBeResent, and AttemptSuperseded where the
    attempt is not the newest silent one; the caller must not commit after any of them.
    """
    done = await resend_unconfirmed(
        session, tenant_id, mode, {email_id: None}, actor=actor, peppers=peppers
    )
    if done.recipients:
        # Looked at last, when no worker can add another one.
        await _require_newest(session, tenant_id, email_id, attempt_id)
        return done
    status = await _get_status(session, tenant_id, mode, email_id)
    state = await session.scalar(
        select(QueueRow.state).where(QueueRow.tenant_id == tenant_id, QueueRow.email_id == email_id)
    )
    if state == PARKED and status is RecipientStatus.UNCONFIRMED:
        # Whatever was decided before: it waits, and nothing was sent by this call.
        await _require_newest(session, tenant_id, email_id, attempt_id)
        raise _cannot_be_resent(done.skipped)
    if await _find_newest_decision(session, tenant_id, email_id) == _REQUEUED:
        return done
    if status is not RecipientStatus.UNCONFIRMED:
        raise NothingUnconfirmed
    raise EmailUnderWay if state in WITH_A_WORKER else NotParked


async def settle(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    email_id: UUID,
    settled_as: SettledAs,
    *,
    actor: Actor,
    attempt_id: UUID | None = None,
) -> Settled:
    """Believe somebody who knows whether an email arrived: who may have it is not sent to again.

    Where a worker says later that the provider took it, one that was settled as sent is a suspected
    duplicate, and a canceled one becomes `sent` after all.
    Raises EmailNotFound, NothingUnconfirmed, EmailUnderWay where the email leaves just now, and
    AttemptSuperseded where the attempt is not the newest silent one.
    """
    await take_turn(session, tenant_id)
    await _get_status(session, tenant_id, mode, email_id)
    locked = await lock(session, tenant_id, [email_id])
    before = {id_: found.status for id_, found in locked.recipients[email_id].items()}
    wanted = [id_ for id_, status in before.items() if status is RecipientStatus.UNCONFIRMED]
    if not wanted:
        return await _settled_before(session, tenant_id, email_id, settled_as, before)
    if locked.states.get(email_id) in WITH_A_WORKER:
        raise EmailUnderWay
    await _require_newest(session, tenant_id, email_id, attempt_id)
    after = before | {id_: next_status(before[id_], _MEANING[settled_as]) for id_ in wanted}
    status = roll_up(after.values())
    await _write_statuses(session, tenant_id, email_id, {id_: after[id_] for id_ in wanted}, status)
    if not PENDING.intersection(after.values()):
        await session.execute(
            delete(QueueRow).where(QueueRow.tenant_id == tenant_id, QueueRow.email_id == email_id)
        )
    await _record_events(session, tenant_id, mode, email_id, wanted, settled_as, actor)
    if mode == "live" and settled_as is SettledAs.SENT:
        await _bill(session, tenant_id, email_id, wanted)
    await audit.record(
        session,
        tenant_id,
        "unconfirmed.settled",
        actor=actor,
        subject_kind="email",
        subject_id=email_id,
        changes={"mode": mode, "recipients": len(wanted), "as": settled_as.value},
    )
    return Settled(status, len(wanted))


def _cannot_be_resent(skipped: Collection[SkipReason]) -> CannotBeResent:
    why = " ".join(words for reason, words in _WHY_NOT.items() if reason in skipped)
    return CannotBeResent(f"This email cannot be sent again now. {why}".rstrip())


async def _require_newest(
    session: AsyncSession, tenant_id: UUID, email_id: UUID, attempt_id: UUID | None
) -> None:
    if attempt_id is None:
        return
    silent = await find_silent_attempts(session, tenant_id, [email_id])
    if email_id not in silent or silent[email_id].id != attempt_id:
        raise AttemptSuperseded(field="attempt_id")


async def _get_status(
    session: AsyncSession, tenant_id: UUID, mode: Mode, email_id: UUID
) -> RecipientStatus:
    status = await session.scalar(
        select(Email.status).where(
            Email.tenant_id == tenant_id, Email.id == email_id, Email.mode == mode
        )
    )
    if status is None:
        raise EmailNotFound
    return RecipientStatus(status)


async def _find_newest_decision(
    session: AsyncSession, tenant_id: UUID, email_id: UUID
) -> str | None:
    """What came last: that the email became unconfirmed, or a decision about that."""
    was_unconfirmed = Event.data["was"].astext == RecipientStatus.UNCONFIRMED.value
    return await session.scalar(
        select(Event.type)
        .where(
            Event.tenant_id == tenant_id,
            Event.subject_id == email_id,
            # A dead letter that was put back is another matter, and so is mail that waited.
            or_(
                Event.type == "email.unconfirmed",
                and_(Event.type.in_((_REQUEUED, *SETTLED_EVENTS.values())), was_unconfirmed),
            ),
        )
        .order_by(Event.created_at.desc(), Event.id.desc())
        .limit(1)
    )


async def _settled_before(
    session: AsyncSession,
    tenant_id: UUID,
    email_id: UUID,
    settled_as: SettledAs,
    statuses: Mapping[UUID, RecipientStatus],
) -> Settled:
    newest = await _find_newest_decision(session, tenant_id, email_id)
    is_so_already = settled_as is SettledAs.SENT and _ARRIVED.issuperset(statuses.values())
    if newest != SETTLED_EVENTS[settled_as] and not is_so_already:
        raise NothingUnconfirmed
    return Settled(roll_up(statuses.values()), 0)


async def _write_statuses(
    session: AsyncSession,
    tenant_id: UUID,
    email_id: UUID,
    changed: Mapping[UUID, RecipientStatus],
    status: RecipientStatus,
) -> None:
    recipients = sql.parameters(tenant_id, [email_id] * len(changed))
    recipients["recipient_ids"] = [*changed]
    recipients["statuses"] = [after.value for after in changed.values()]
    await session.execute(sql.SET_RECIPIENTS, recipients)
    emails = sql.parameters(tenant_id, [email_id]) | {"statuses": [status.value]}
    await session.execute(sql.SET_EMAILS, emails)


async def _record_events(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    email_id: UUID,
    recipient_ids: Sequence[UUID],
    settled_as: SettledAs,
    actor: Actor,
) -> None:
    data = {
        "was": RecipientStatus.UNCONFIRMED.value,
        "as": settled_as.value,
        "actor_kind": actor.kind,
        "actor_id": str(actor.id) if actor.id else None,
    }
    rows = [
        {
            "tenant_id": tenant_id,
            "subject_id": email_id,
            "id": new_id(),
            "mode": mode,
            "type": SETTLED_EVENTS[settled_as],
            "recipient_id": recipient_id,
            "data": data,
        }
        for recipient_id in recipient_ids
    ]
    await session.execute(insert(Event).values(rows))


async def _bill(
    session: AsyncSession, tenant_id: UUID, email_id: UUID, recipient_ids: Sequence[UUID]
) -> None:
    attempts = await list_attempts(session, tenant_id, email_id)
    rows = [
        {
            "tenant_id": tenant_id,
            "email_id": email_id,
            "recipient_id": recipient_id,
            "units": 1,
            "provider": _silent_provider(attempts, recipient_id),
        }
        for recipient_id in recipient_ids
    ]
    # Its key is the recipient: whoever was billed before is not billed again.
    await session.execute(insert_or_skip(LedgerEntry).values(rows).on_conflict_do_nothing())


def _silent_provider(attempts: Sequence[AttemptView], recipient_id: UUID) -> str:
    """Who was asked for the recipient last, and did not say."""
    wanted = (str(recipient_id), Outcome.AMBIGUOUS.value)
    for attempt in reversed(attempts):
        for answer in attempt.recipients:
            if (answer.get("recipient_id"), answer.get("outcome")) == wanted:
                return attempt.provider
    return _UNKNOWN_PROVIDER
