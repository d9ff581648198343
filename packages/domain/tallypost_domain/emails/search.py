"""Finds emails by a filter, newest first, however many a tenant has.

A search begins with the most selective term that an index knows: an id, a recipient, a status that
few emails have. Everything else looks through emails from the newest on. Either way it gives up
after a number of candidates and says how far it came, so that no page costs more than that.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Uuid,
    bindparam,
    column,
    func,
    literal,
    select,
    true,
    union,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from tallypost_domain.emails.id_times import GREATEST_ID, LEAST_ID, first_id_at, time_of
from tallypost_domain.emails.lifecycle import PENDING, RecipientStatus
from tallypost_domain.emails.models import Email, QueueRow
from tallypost_domain.emails.search_terms import EmailFilter
from tallypost_domain.emails.service import MAX_PAGE
from tallypost_domain.emails.views import EmailView, email_view
from tallypost_domain.events.models import RARE_TYPES, Event
from tallypost_providers.types import Mode

MOST_SCANNED: Final = 20_000
"""Emails that one search looks through where no index knows its terms, or rows of the queue: 10 to
30 ms in memory."""

MOST_LOOKED_UP: Final = 2_000
"""Candidates from an index, each of which is looked up by its key: 10 to 40 ms in memory."""

_AS_ACCEPTED: Final = frozenset({RecipientStatus.QUEUED, RecipientStatus.SCHEDULED})


class FoundPage(Struct, frozen=True, kw_only=True):
    """One page of what was found."""

    items: tuple[EmailView, ...]
    """Newest first, without bodies and recipients, as `list_emails` has them."""
    has_more: bool
    """More was found in the direction that was asked for."""
    searched_back_to: dt.datetime | None = None
    """Where it gave up before the page was full; None where it saw everything, or enough."""
    continue_after: UUID | None = None
    """Then: goes on from there, as `after`."""
    continue_before: UUID | None = None
    """The same of a search for newer emails, as `before`."""


class _Range(Struct, frozen=True):
    """Ids from least to below end, walked from one side."""

    least: UUID
    end: UUID
    is_upward: bool

    def holds(self, ids: InstrumentedAttribute[UUID]) -> ColumnElement[bool]:
        """That an id lies in it. Both bounds are given, so that partitions are left out."""
        return (ids >= self.least) & (ids < self.end)

    def order(self, ids: ColumnElement[UUID] | InstrumentedAttribute[UUID]) -> ColumnElement[UUID]:
        """By which it is walked."""
        return ids.asc() if self.is_upward else ids.desc()

    def up_to(self, beyond: UUID) -> "_Range":
        """The part of it that is walked before an id."""
        if self.is_upward:
            return _Range(self.least, beyond, is_upward=True)
        return _Range(_next(beyond), self.end, is_upward=False)


async def find_emails(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    wanted: EmailFilter,
    *,
    limit: int,
    after: UUID | None = None,
    before: UUID | None = None,
) -> FoundPage:
    """A page of the emails that a filter lets through, newest first.

    after continues below an id, before returns what is newer than one; limit is 1 to MAX_PAGE. An
    email is found by its status of this moment. A filter of dates alone never gives up.
    """
    limit = min(limit, MAX_PAGE)
    walk = _range(wanted, after, before)
    found = select(Email).where(Email.tenant_id == tenant_id, Email.mode == mode)
    found = found.where(*_conditions(wanted))
    beyond = await _find_beyond(session, tenant_id, mode, wanted, walk)
    reached = walk if beyond is None else walk.up_to(beyond)
    candidates = _candidates(tenant_id, mode, wanted, reached)
    if candidates is None:
        matches = found.where(reached.holds(Email.id)).order_by(walk.order(Email.id))
    else:
        ids = list(await session.scalars(candidates.limit(MOST_LOOKED_UP + 1)))
        beyond = ids[MOST_LOOKED_UP] if len(ids) > MOST_LOOKED_UP else beyond
        matches = _among(ids[:MOST_LOOKED_UP], found, walk)
    rows = list(await session.scalars(matches.limit(limit + 1)))
    return _page(rows, limit, walk, beyond)


def _page(rows: Sequence[Email], limit: int, walk: _Range, beyond: UUID | None) -> FoundPage:
    has_more = len(rows) > limit
    shown = rows[:limit]
    items = tuple(map(email_view, reversed(shown) if walk.is_upward else shown))
    if beyond is None or has_more:
        return FoundPage(items=items, has_more=has_more)
    if walk.is_upward:
        return FoundPage(items=items, has_more=False, continue_before=_previous(beyond))
    return FoundPage(
        items=items,
        has_more=False,
        searched_back_to=time_of(beyond),
        continue_after=_next(beyond),
    )


def _range(wanted: EmailFilter, after: UUID | None, before: UUID | None) -> _Range:
    least, end = LEAST_ID, GREATEST_ID
    if wanted.since is not None:
        least = first_id_at(wanted.since)
    if wanted.until is not None:
        end = first_id_at(wanted.until)
    if wanted.email_id is not None:
        least, end = max(least, wanted.email_id), min(end, _next(wanted.email_id))
    if before is not None:
        return _Range(max(least, _next(before)), end, is_upward=True)
    return _Range(least, end if after is None else min(end, after), is_upward=False)


async def _find_beyond(
    session: AsyncSession, tenant_id: UUID, mode: Mode, wanted: EmailFilter, walk: _Range
) -> UUID | None:
    """The first id that is too far away to be looked at, where rows are looked through."""
    if wanted.email_id is not None or wanted.recipient is not None:
        return None
    if _rare_types(wanted) is None:
        if not _conditions(wanted):
            return None
        ids = select(Email.id).where(Email.tenant_id == tenant_id, Email.mode == mode)
        ids = ids.where(walk.holds(Email.id)).order_by(walk.order(Email.id))
    elif not PENDING.isdisjoint(wanted.statuses):
        ids = _in_queue(tenant_id, walk)
    else:
        return None
    return await session.scalar(ids.offset(MOST_SCANNED).limit(1))


def _candidates(
    tenant_id: UUID, mode: Mode, wanted: EmailFilter, walk: _Range
) -> Select[UUID] | None:
    """Ids in the order of the walk, the wanted emails among them, where an index has few such."""
    if wanted.recipient is not None:
        arguments = (wanted.recipient, mode, walk.least, walk.end, walk.is_upward)
        found = func.find_emails_to(*arguments, MOST_LOOKED_UP + 1)
        return select(found.table_valued(column("id", Uuid)).c.id)
    types = _rare_types(wanted)
    if wanted.email_id is not None or types is None:
        return None
    parts = [_with_event(tenant_id, mode, type_, walk) for type_ in types]
    if not PENDING.isdisjoint(wanted.statuses):
        has_changed = _AS_ACCEPTED.isdisjoint(wanted.statuses)
        parts.append((_once_claimed if has_changed else _in_queue)(tenant_id, walk))
    # Of each as many as are wanted of all.
    together = union(
        *(select(part.limit(MOST_LOOKED_UP + 1).subquery()) for part in parts)
    ).subquery()
    return select(together.c.id).order_by(walk.order(together.c.id))


def _rare_types(wanted: EmailFilter) -> list[str] | None:
    """The events of the wanted statuses that are ends; None where an end has none that is rare, or
    no status is wanted."""
    types = sorted({f"email.{status}" for status in wanted.statuses if status not in PENDING})
    return types if wanted.statuses and set(types).issubset(RARE_TYPES) else None


def _with_event(tenant_id: UUID, mode: Mode, type_: str, walk: _Range) -> Select[UUID]:
    """Each email once, though the same may have befallen several of its recipients."""
    return (
        select(Event.subject_id.label("id"))
        .where(
            Event.tenant_id == tenant_id,
            Event.mode == mode,
            # Written out: a plan that suits any type could not use the index of the rare ones.
            Event.type == bindparam(None, type_, literal_execute=True),
            walk.holds(Event.subject_id),
        )
        .distinct()
        .order_by(walk.order(Event.subject_id))
    )


def _in_queue(tenant_id: UUID, walk: _Range) -> Select[UUID]:
    """Of both modes, which the queue does not tell apart."""
    return (
        select(QueueRow.email_id.label("id"))
        .where(QueueRow.tenant_id == tenant_id, walk.holds(QueueRow.email_id))
        .order_by(walk.order(QueueRow.email_id))
    )


def _once_claimed(tenant_id: UUID, walk: _Range) -> Select[UUID]:
    """As `_in_queue`, without what no worker ever had: that is as it was when it was accepted."""
    waiting = _in_queue(tenant_id, walk).limit(MOST_SCANNED).subquery()
    # By its key, because of the limit: while the queue is short, a plan would read all of it, and
    # a connection keeps that plan when it has grown.
    claimed = (
        select(QueueRow.fence)
        .where(
            QueueRow.tenant_id == tenant_id,
            QueueRow.email_id == waiting.c.id,
            QueueRow.fence > 0,
        )
        .limit(1)
        .lateral()
    )
    return (
        select(waiting.c.id).join_from(waiting, claimed, true()).order_by(walk.order(waiting.c.id))
    )


def _among(ids: Sequence[UUID], found: Select[Email], walk: _Range) -> Select[Email]:
    """What is found among some ids. Each is looked up by its key, because of the limits: joined,
    the planner would read whole partitions where it takes the ids for many."""
    given = func.unnest(literal(ids, ARRAY(Uuid)), type_=Uuid()).column_valued("given")
    ordered = select(given.label("id")).order_by(walk.order(given)).limit(MOST_LOOKED_UP).subquery()
    each = found.where(Email.id == ordered.c.id).limit(1).lateral()
    return (
        select(aliased(Email, each))
        .join_from(ordered, each, true())
        .order_by(walk.order(ordered.c.id))
    )


def _conditions(wanted: EmailFilter) -> list[ColumnElement[bool]]:
    """What is asked of each candidate. All characters of a word count as they are."""
    conditions: list[ColumnElement[bool]] = [
        func.strpos(func.lower(Email.subject), func.lower(word)) > 0 for word in wanted.words
    ]
    conditions += [
        Email.tags.contains([{"name": tag.name, "value": tag.value}]) for tag in wanted.tags
    ]
    if wanted.email_id is not None:
        conditions.append(Email.id == wanted.email_id)
    if wanted.statuses:
        conditions.append(Email.status.in_(sorted(wanted.statuses)))
    if wanted.sender is not None:
        conditions.append(func.lower(Email.from_address) == wanted.sender)
    if wanted.stream is not None:
        conditions.append(Email.stream == wanted.stream)
    if wanted.api_key_id is not None:
        conditions.append(Email.api_key_id == wanted.api_key_id)
    return conditions


def _next(id_: UUID) -> UUID:
    return UUID(int=min(id_.int + 1, GREATEST_ID.int))


def _previous(id_: UUID) -> UUID:
    return UUID(int=max(id_.int - 1, LEAST_ID.int))
