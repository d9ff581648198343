"""Lists mail of which nobody knows whether it arrived, within bounds."""

import datetime as dt
import enum
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import CTE, Select, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.models import Attempt, Email, QueueRow, Recipient
from tallypost_domain.emails.types import LOOK_UP_PLANNED
from tallypost_domain.queue.bounded_looks import find_page, first_rows
from tallypost_domain.queue.claims import FIRST_FENCE_AGAIN
from tallypost_domain.tenants.models import Stream
from tallypost_providers.types import Mode, Outcome

MAX_PAGE = 100

# So many rows of the queue are looked at for one page.
_LOOK = 20_000

_PARKED = "ambiguous"


class NextStep(enum.StrEnum):
    """What becomes of an unconfirmed recipient if nobody does anything."""

    LOOK_UP = "look_up"
    """The provider is asked whether it took the email; then comes one of the others."""
    RESEND = "resend"
    """The email is sent to it again, as its stream says."""
    DECISION = "decision"
    """Nothing: somebody has to decide."""
    AFTER_OTHERS = "after_others"
    """The email's other recipients are sent to first; then somebody has to decide."""


class UnconfirmedRecipient(Struct, frozen=True):
    """Somebody who may have the email."""

    id: UUID
    address: str


class SilentAttempt(Struct, frozen=True, kw_only=True):
    """A handover that ended without a statement."""

    id: UUID
    provider: str
    """`unknown` where the worker that handed over was lost, and so is the account."""
    account: str
    phase: str
    """`lookup` where the provider was asked about an earlier one, and did not know it."""
    recorded_at: dt.datetime
    is_look_up_due: bool
    """The provider is still to be asked whether it took the email."""


class UnconfirmedEmail(Struct, frozen=True, kw_only=True):
    """An email with recipients who may have it."""

    id: UUID
    subject: str
    stream: str
    accepted_at: dt.datetime
    recipients: tuple[UnconfirmedRecipient, ...]
    """Those who may have it, and no other."""
    attempt: SilentAttempt | None
    """The newest one of which nobody knows how it ended."""
    next_step: NextStep
    next_at: dt.datetime | None
    """When it is due to be looked up or sent again; None where it is not, or where it is held until
    its tenant or domain may send."""


class UnconfirmedPage(Struct, frozen=True):
    """One page, and where the next one begins; it may be short and yet not the last."""

    items: tuple[UnconfirmedEmail, ...]
    after: UUID | None


async def list_unconfirmed(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    *,
    limit: int,
    after: UUID | None = None,
) -> UnconfirmedPage:
    """Emails with recipients who may have them, the one first that was accepted first.

    limit is 1 to MAX_PAGE. Where many others stand in between, a page has fewer emails, or none,
    and yet names where the next one begins.
    """
    looked_at = first_rows(_rows(tenant_id, after), _LOOK)
    emails = _unconfirmed(tenant_id, mode, looked_at)
    found = await find_page(session, looked_at, _LOOK, emails, min(limit, MAX_PAGE))
    ids = [row.email_id for row in found.rows]
    recipients = await _recipients(session, tenant_id, ids)
    attempts = await find_silent_attempts(session, tenant_id, ids)
    items = tuple(
        _email(row, recipients.get(row.email_id, ()), attempts.get(row.email_id))
        for row in found.rows
    )
    return UnconfirmedPage(items, found.after)


async def find_unconfirmed(
    session: AsyncSession, tenant_id: UUID, mode: Mode, email_id: UUID
) -> UnconfirmedEmail | None:
    """One email; None where nobody doubts who has it, or it has just been decided."""
    looked_at = _rows(tenant_id, None).where(QueueRow.email_id == email_id).cte()
    row = (await session.execute(_unconfirmed(tenant_id, mode, looked_at))).one_or_none()
    if row is None:
        return None
    recipients = await _recipients(session, tenant_id, [email_id])
    attempts = await find_silent_attempts(session, tenant_id, [email_id])
    return _email(row, recipients.get(email_id, ()), attempts.get(email_id))


async def find_silent_attempts(
    session: AsyncSession, tenant_id: UUID, email_ids: Collection[UUID]
) -> dict[UUID, SilentAttempt]:
    """The newest attempt of each email that ended without a statement."""
    if not email_ids:
        return {}
    rows = await session.scalars(
        select(Attempt)
        .where(
            Attempt.tenant_id == tenant_id,
            Attempt.email_id.in_(email_ids),
            Attempt.email_id.between(min(email_ids), max(email_ids)),
            Attempt.outcome == Outcome.AMBIGUOUS.value,
        )
        .order_by(Attempt.created_at, Attempt.id)
    )
    # The last one of each email is kept.
    return {
        row.email_id: SilentAttempt(
            id=row.id,
            provider=row.provider,
            account=row.account,
            phase=row.phase,
            recorded_at=row.created_at,
            is_look_up_due=LOOK_UP_PLANNED in row.evidence,
        )
        for row in rows
    }


def _rows(tenant_id: UUID, after: UUID | None) -> Select[UUID, str, dt.datetime, int, int]:
    statement = select(
        QueueRow.email_id, QueueRow.state, QueueRow.due_at, QueueRow.attempt, QueueRow.fence
    ).where(QueueRow.tenant_id == tenant_id)
    return statement if after is None else statement.where(QueueRow.email_id > after)


# Any: the columns of a row.
def _unconfirmed(tenant_id: UUID, mode: Mode, looked_at: CTE) -> Select[Any]:
    # Each by its key, because of the limit of one: joined, the planner would read whole partitions.
    email = (
        select(Email.subject, Email.stream, Email.lane, Email.created_at, Email.mode, Email.status)
        .where(Email.tenant_id == tenant_id, Email.id == looked_at.c.email_id)
        .limit(1)
        .lateral()
    )
    policy = func.policy_of_unconfirmed(Stream.on_unconfirmed, email.c.lane)
    return (
        select(
            looked_at.c.email_id,
            looked_at.c.state,
            looked_at.c.due_at,
            email.c.subject,
            email.c.stream,
            email.c.created_at,
            policy.label("policy"),
        )
        .select_from(looked_at)
        .join(email, true())
        .outerjoin(Stream, (Stream.tenant_id == tenant_id) & (Stream.name == email.c.stream))
        .where(
            # Whoever is unconfirmed was handed over once, so the row was begun or sent again. That
            # leaves out the backlog that no worker has seen yet.
            or_(looked_at.c.attempt > 0, looked_at.c.fence >= FIRST_FENCE_AGAIN),
            email.c.mode == mode,
            # An email shows this as soon as one of its recipients does.
            email.c.status == RecipientStatus.UNCONFIRMED.value,
        )
        .order_by(looked_at.c.email_id)
    )


async def _recipients(
    session: AsyncSession, tenant_id: UUID, email_ids: Collection[UUID]
) -> dict[UUID, list[UnconfirmedRecipient]]:
    found: dict[UUID, list[UnconfirmedRecipient]] = {}
    if not email_ids:
        return found
    rows = await session.execute(
        select(Recipient.email_id, Recipient.id, Recipient.address)
        .where(
            Recipient.tenant_id == tenant_id,
            Recipient.email_id.in_(email_ids),
            # Other partitions are not looked into.
            Recipient.email_id.between(min(email_ids), max(email_ids)),
            Recipient.status == RecipientStatus.UNCONFIRMED.value,
        )
        .order_by(Recipient.id)
    )
    for email_id, id_, address in rows:
        found.setdefault(email_id, []).append(UnconfirmedRecipient(id_, address))
    return found


# Any: a row of `_unconfirmed`.
def _email(
    row: Any, recipients: Sequence[UnconfirmedRecipient], attempt: SilentAttempt | None
) -> UnconfirmedEmail:
    step = NextStep.RESEND
    if row.state == _PARKED:
        step = NextStep.DECISION
    elif attempt is not None and attempt.is_look_up_due:
        step = NextStep.LOOK_UP
    elif row.policy == "hold":
        step = NextStep.AFTER_OTHERS
    is_dated = step in {NextStep.RESEND, NextStep.LOOK_UP} and row.state != "held"
    return UnconfirmedEmail(
        id=row.email_id,
        subject=row.subject,
        stream=row.stream,
        accepted_at=row.created_at,
        recipients=tuple(recipients),
        attempt=attempt,
        next_step=step,
        next_at=row.due_at if is_dated else None,
    )
