"""The start page: how sending goes, and what somebody should look at."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY, Everyone
from tallypost_console.addresses import address_of
from tallypost_console.attention import has_many_bounces, list_concerns
from tallypost_console.charts import Bar
from tallypost_console.dependencies import require_tenant_id
from tallypost_console.rendering import AnyRequest, render, render_block
from tallypost_console.services import Services
from tallypost_console.streams import stream
from tallypost_console.visitors import Visitor
from tallypost_core.clock import utc_now
from tallypost_domain.emails import service as emails
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.outcomes import OutcomeBucket, count_outcomes, measure_handover
from tallypost_domain.people import service as people
from tallypost_domain.people.errors import PermissionDenied
from tallypost_domain.people.permissions import Permission
from tallypost_domain.queue.dead_letters import count_dead_letters
from tallypost_domain.queue.waiting import count_queue
from tallypost_providers.types import Mode

DAYS: Final = 7
NEWEST: Final = 8

_TEMPLATE: Final = "home.html"
# From the bottom of a bar to its top: colour, label, and what belongs to it.
_PARTS: Final[tuple[tuple[str, str, frozenset[RecipientStatus]], ...]] = (
    (
        "delivered",
        "Sent or delivered",
        frozenset({RecipientStatus.SENT, RecipientStatus.DELIVERED}),
    ),
    (
        "waiting",
        "Waiting or delayed",
        frozenset(
            {
                RecipientStatus.SCHEDULED,
                RecipientStatus.QUEUED,
                RecipientStatus.HELD,
                RecipientStatus.DEFERRED,
                RecipientStatus.UNCONFIRMED,
            }
        ),
    ),
    ("bounced", "Bounced or failed", frozenset({RecipientStatus.BOUNCED, RecipientStatus.FAILED})),
    ("complained", "Complained", frozenset({RecipientStatus.COMPLAINED})),
    (
        "suppressed",
        "Suppressed or canceled",
        frozenset({RecipientStatus.SUPPRESSED, RecipientStatus.CANCELED}),
    ),
)


# Any, here and below: the body is a page's or a redirect's, and what the template shows.
@get("/", opt={OPT_KEY: Everyone.SIGNED_IN})
async def show_home(
    request: AnyRequest,
    services: NamedDependency[Services],
    visitor: NamedDependency[Visitor],
    mode: FromQuery[Mode] = "live",
) -> Response[Any]:
    """The open tenant's start page; an operator without one sees the installation's.

    Raises NoTenantOpen, PermissionDenied.
    """
    if visitor.person.tenant_id is None and visitor.may(Permission.PLATFORM_READ):
        return Redirect("/overview", status_code=303)
    tenant_id = require_tenant_id(visitor)
    if not visitor.may(Permission.EMAILS_READ):
        raise PermissionDenied
    async with services.session(tenant_id) as session:
        tenant = await people.get_tenant(session, tenant_id)
    found = await _measure(services, tenant_id, mode)
    return render(request, _TEMPLATE, tenant=tenant, **found)


@get("/home/live", opt={OPT_KEY: Permission.EMAILS_READ})
async def follow_home(
    request: AnyRequest,
    services: NamedDependency[Services],
    visitor: NamedDependency[Visitor],
    mode: FromQuery[Mode] = "live",
) -> Stream:
    """The start page's numbers whenever they change. Raises TooManyStreams."""
    tenant_id = require_tenant_id(visitor)

    async def view() -> str:
        return render_block(_TEMPLATE, "numbers", **await _measure(services, tenant_id, mode))

    return stream(request, services, visitor, ("/", tenant_id, mode), view)


async def _measure(services: Services, tenant_id: UUID, mode: Mode) -> dict[str, Any]:
    async with services.session(tenant_id) as session:
        newest = await emails.list_emails(session, tenant_id, mode, limit=NEWEST)
        numbers = services.home_numbers.find((tenant_id, mode))
        if numbers is None:
            numbers = await _count(session, tenant_id, mode)
            # The first email of a tenant shows in all places at once.
            if numbers["whole"]:
                services.home_numbers.put((tenant_id, mode), numbers)
    return {**numbers, "newest": newest.items}


async def _count(session: AsyncSession, tenant_id: UUID, mode: Mode) -> dict[str, Any]:
    today = utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - dt.timedelta(days=DAYS - 1)
    days = await count_outcomes(
        session, tenant_id, mode, since=since, until=today + dt.timedelta(days=1), bucket="day"
    )
    queue = await count_queue(session, tenant_id, mode)
    dead = await count_dead_letters(session, tenant_id, mode)
    week: Counter[RecipientStatus] = Counter()
    for day in days:
        week.update(day.counts)
    return {
        "mode": mode,
        "accepted_today": days[-1].total,
        "emails_today": address_of("/emails", mode=mode, q=f"after:{today:%Y-%m-%d}"),
        "good": week[RecipientStatus.SENT] + week[RecipientStatus.DELIVERED],
        "bounced": week[RecipientStatus.BOUNCED],
        "bounce_tone": "warning" if has_many_bounces(week) else "",
        "whole": sum(week.values()),
        "handover": await measure_handover(session, tenant_id, mode, today),
        "concerns": list_concerns(mode, week, queue, dead.count),
        "bars": [_bar(day, mode, is_open=day is days[-1]) for day in days],
        "legend": [(colour, label) for colour, label, _ in _PARTS],
        "columns": ["Day", *(label for _, label, _ in _PARTS)],
        "rows": [_row(day) for day in days],
    }


def _counts(day: OutcomeBucket) -> list[tuple[str, str, int]]:
    return [
        (colour, label, sum(day.counts.get(status, 0) for status in statuses))
        for colour, label, statuses in _PARTS
    ]


def _bar(day: OutcomeBucket, mode: Mode, *, is_open: bool) -> Bar:
    counts = _counts(day)
    said = ", ".join(f"{label.lower()} {number:,}" for _, label, number in counts if number)
    end = day.at + dt.timedelta(days=1)
    search = f"after:{day.at:%Y-%m-%d} before:{end:%Y-%m-%d}"
    return Bar(
        label=f"{day.at:%a %-d}",
        summary=f"{day.at:%A %-d %B}: {said or 'no emails'}",
        href=address_of("/emails", mode=mode, q=search),
        parts=tuple((colour, number) for colour, _, number in counts),
        is_open=is_open,
    )


def _row(day: OutcomeBucket) -> Sequence[str]:
    return [f"{day.at:%a %-d %b}", *(f"{number:,}" for _, _, number in _counts(day))]
