"""The queue of the open tenant: what waits, what is under way, and what is parked."""

from typing import Any, Final
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.addresses import address_of
from tallypost_console.dependencies import require_tenant_id
from tallypost_console.forms import Form, read_form
from tallypost_console.modes import read_mode
from tallypost_console.rendering import AnyRequest, render, render_block
from tallypost_console.services import Services
from tallypost_console.settlements import read_settled_as
from tallypost_console.streams import stream
from tallypost_console.visitors import Visitor, as_actor
from tallypost_core.clock import utc_now
from tallypost_core.ids import parse_id
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import TenantRow
from tallypost_domain.queue.requeueing import resend_unconfirmed
from tallypost_domain.queue.settling import settle_several
from tallypost_domain.queue.unconfirmed import find_silent_attempts
from tallypost_domain.queue.waiting import (
    QueueCounts,
    QueueState,
    count_queue,
    list_queue,
)
from tallypost_providers.types import Mode

PAGE_SIZE: Final = 50

_PATH: Final = "/queue"
_TEMPLATE: Final = "queue.html"
_PARKED: Final = "ambiguous"
_STATES: Final[tuple[tuple[QueueState | None, str], ...]] = (
    (None, "All"),
    ("waiting", "Waiting"),
    ("claimed", "With a worker"),
    ("handing_over", "On the wire"),
    ("held", "Held"),
    (_PARKED, "To decide"),
)
_REQUEUE: Final = {OPT_KEY: Permission.QUEUE_REQUEUE}


class QueuePages(Controller):
    """Emails with recipients still to send to."""

    path = _PATH
    opt = {OPT_KEY: Permission.QUEUE_READ}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_queue(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
        mode: FromQuery[Mode] = "live",
        only: FromQuery[QueueState | None] = None,
        after: FromQuery[UUID | None] = None,
        email: FromQuery[UUID | None] = None,
    ) -> Response[str]:
        """One page of a mode's queue, the email first that was accepted first, or one email."""
        may_requeue = visitor.may(Permission.QUEUE_REQUEUE)
        found = await _find(
            session, tenant.id, mode, only, after, email_id=email, may_requeue=may_requeue
        )
        return render(request, _TEMPLATE, tenant=tenant, **found)

    @get("/live")
    async def follow_queue(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
        mode: FromQuery[Mode] = "live",
        only: FromQuery[QueueState | None] = None,
        email: FromQuery[UUID | None] = None,
    ) -> Stream:
        """The first page whenever it changes. Raises TooManyStreams."""
        tenant_id = require_tenant_id(visitor)
        may_requeue = visitor.may(Permission.QUEUE_REQUEUE)

        async def view() -> str:
            async with services.session(tenant_id) as session:
                found = await _find(
                    session, tenant_id, mode, only, email_id=email, may_requeue=may_requeue
                )
            return render_block(_TEMPLATE, "list", **found)

        key = (_PATH, tenant_id, mode, only, email, may_requeue)
        return stream(request, services, visitor, key, view)

    @post("/unconfirmed", status_code=200, opt=_REQUEUE)
    async def send_again(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
    ) -> Response[str]:
        """Send parked emails again that a person has chosen, though they may arrive twice."""
        form = await read_form(request)
        mode = read_mode(form)
        done = await resend_unconfirmed(
            session,
            tenant.id,
            mode,
            _chosen(form),
            actor=as_actor(request, visitor.person),
            peppers=services.peppers,
        )
        back = address_of(_PATH, mode=mode, only=_PARKED)
        return render(request, "requeued.html", tenant=tenant, mode=mode, done=done, back=back)

    @post("/unconfirmed/settle", status_code=200, opt=_REQUEUE)
    async def settle(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
    ) -> Response[str]:
        """Believe a person who says whether the emails they have chosen arrived."""
        form = await read_form(request)
        mode, settled_as = read_mode(form), read_settled_as(form)
        done = await settle_several(
            session,
            tenant.id,
            mode,
            _chosen(form),
            settled_as,
            actor=as_actor(request, visitor.person),
        )
        return render(
            request,
            "settled.html",
            tenant=tenant,
            mode=mode,
            settled_as=settled_as,
            done=done,
            back=address_of(_PATH, mode=mode, only=_PARKED),
        )


def _chosen(form: Form) -> dict[UUID, UUID | None]:
    """The emails that are ticked, each with the silent attempt that was shown beside it.

    By that an old page decides about nothing newer. What is no id is left out.
    """
    chosen: dict[UUID, UUID | None] = {}
    for value in form.list_values("email"):
        email, _, attempt = value.partition(" ")
        email_id = parse_id(email)
        if email_id is not None:
            chosen[email_id] = parse_id(attempt)
    return chosen


# Any: what the template shows.
async def _find(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode,
    state: QueueState | None,
    after: UUID | None = None,
    *,
    email_id: UUID | None,
    may_requeue: bool,
) -> dict[str, Any]:
    page = await list_queue(
        session, tenant_id, mode, state=state, limit=PAGE_SIZE, after=after, email_id=email_id
    )
    counts = await count_queue(session, tenant_id, mode)
    parked = [email.email_id for email in page.items if email.state == _PARKED]
    silences = await find_silent_attempts(session, tenant_id, parked)
    here = address_of(_PATH, mode=mode, only=state, email=email_id)
    return {
        "mode": mode,
        "state": state,
        "is_parked": state == _PARKED,
        "is_choice": state == _PARKED and may_requeue,
        "silences": silences,
        "is_one": email_id is not None,
        "all": address_of(_PATH, mode=mode, only=state),
        "emails": page.items,
        "now": utc_now(),
        "tabs": [
            (value, label, address_of(_PATH, mode=mode, only=value), _count(counts, value))
            for value, label in _STATES
        ],
        "is_first": after is None,
        "here": here,
        "live": address_of(f"{_PATH}/live", mode=mode, only=state, email=email_id),
        "after": page.after,
    }


def _count(counts: QueueCounts, state: QueueState | None) -> str:
    if state is None:
        return ""
    return f"{getattr(counts, state):,}" + ("+" if state in counts.incomplete else "")
