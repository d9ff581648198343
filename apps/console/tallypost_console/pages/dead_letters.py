"""Dead letters: recipients that were given up for a cause not their own, and their way back."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.addresses import address_of, of_tenant
from tallypost_console.errors import MalformedForm
from tallypost_console.forms import Form, read_form
from tallypost_console.letter_filters import FIELDS, read_narrowing, require_narrowing
from tallypost_console.modes import read_mode
from tallypost_console.rendering import AnyRequest, render
from tallypost_console.services import Services
from tallypost_console.visitors import Visitor, as_actor
from tallypost_console.words import sentence
from tallypost_core.ids import parse_id
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import TenantRow
from tallypost_domain.queue.dead_letters import (
    count_dead_letters,
    list_causes,
    list_dead_letters,
)
from tallypost_domain.queue.requeueing import MAX_STEP, requeue, requeue_matching
from tallypost_domain.tenants.service import list_streams
from tallypost_providers.types import Mode

PAGE_SIZE: Final = 50

_PATH: Final = "/queue/dead-letters"
_MATCHING: Final = f"{_PATH}/requeue-matching"
_TEMPLATE: Final = "dead_letters.html"
_REQUEUE: Final = {OPT_KEY: Permission.QUEUE_REQUEUE}


class _Progress(Struct, frozen=True):
    """How far the requeueing of all that match is."""

    start: UUID | None
    """Of the next step; None at the end."""
    total: int
    requeued: int
    skipped: int


class DeadLetterPages(Controller):
    """Dead letters of the open tenant."""

    path = _PATH
    opt = {OPT_KEY: Permission.QUEUE_READ}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_dead_letters(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        mode: FromQuery[Mode] = "live",
        after: FromQuery[UUID | None] = None,
    ) -> Response[str]:
        """One page of them, newest first, with those that match counted."""
        given = _given(_query(request))
        narrowing = read_narrowing(given)
        # Any: what the template shows.
        shown: dict[str, Any] = {
            "tenant": tenant,
            "mode": mode,
            "given": given,
            "wrong": narrowing.wrong,
            "cause_options": _options(await list_causes(session, tenant.id, mode)),
            "stream_options": _options(await list_streams(session, tenant.id)),
            "here": address_of(_PATH, mode=mode, **given),
            "is_first": after is None,
            "place": after,
        }
        if narrowing.wrong:
            return render(request, _TEMPLATE, status_code=422, letters=(), **shown)
        page = await list_dead_letters(
            session, tenant.id, mode, narrowing.wanted, limit=PAGE_SIZE, after=after
        )
        counted = await count_dead_letters(session, tenant.id, mode, narrowing.wanted)
        return render(
            request,
            _TEMPLATE,
            letters=page.items,
            counted=counted,
            step=_address_of_step(
                tenant, mode, given, _Progress(counted.newest, counted.count, 0, 0)
            ),
            after=page.items[-1].id if page.has_more else None,
            **shown,
        )

    @post("/requeue", status_code=200, opt=_REQUEUE)
    async def requeue_chosen(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
    ) -> Response[str]:
        """Put back those that were ticked."""
        form = await read_form(request)
        mode = read_mode(form)
        chosen = [id_ for id_ in map(parse_id, form.list_values("letter")) if id_ is not None]
        done = await requeue(
            session,
            tenant.id,
            mode,
            chosen,
            actor=as_actor(request, visitor.person),
            peppers=services.peppers,
        )
        # The page that they were ticked on.
        back = address_of(_PATH, mode=mode, **_given(form), after=parse_id(form.find("after")))
        return render(request, "requeued.html", tenant=tenant, mode=mode, done=done, back=back)

    @get("/requeue-matching", opt=_REQUEUE)
    async def show_step(
        self, request: AnyRequest, tenant: NamedDependency[TenantRow]
    ) -> Response[str]:
        """How far it is, where a step has failed, and the button that goes on."""
        query = _query(request)
        return _show_progress(request, tenant, query, _read_progress(query), is_paused=True)

    @post("/requeue-matching", status_code=200, opt=_REQUEUE)
    async def requeue_step(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
    ) -> Response[str]:
        """Put back the next thousand that match; the page shows how far it is and goes on.

        How far it is stands in the address, so that a step that failed leads to `show_step`.
        """
        query = _query(request)
        before = _read_progress(query)
        step = await requeue_matching(
            session,
            tenant.id,
            read_mode(query),
            require_narrowing(_given(query)),
            start=_start(query),
            limit=MAX_STEP,
            actor=as_actor(request, visitor.person),
            peppers=services.peppers,
        )
        requeued = before.requeued + step.recipients
        skipped = before.skipped + sum(step.skipped.values())
        progress = _Progress(step.next, max(before.total, requeued + skipped), requeued, skipped)
        return _show_progress(request, tenant, query, progress)


def _show_progress(
    request: AnyRequest,
    tenant: TenantRow,
    query: Form,
    progress: _Progress,
    *,
    is_paused: bool = False,
) -> Response[str]:
    mode, given = read_mode(query), _given(query)
    return render(
        request,
        "requeueing.html",
        tenant=tenant,
        mode=mode,
        progress=progress,
        step=_address_of_step(tenant, mode, given, progress),
        is_paused=is_paused,
        back=address_of(_PATH, mode=mode, **given),
    )


def _address_of_step(
    tenant: TenantRow, mode: Mode, given: dict[str, str], progress: _Progress
) -> str:
    fields = {"mode": mode, **{name: value for name, value in given.items() if value}}
    done = {name: getattr(progress, name) for name in progress.__struct_fields__}
    return of_tenant(f"{_MATCHING}?{urlencode({**fields, **done})}", tenant)


def _read_progress(query: Form) -> _Progress:
    requeued, skipped = _number(query, "requeued"), _number(query, "skipped")
    total = max(_number(query, "total"), requeued + skipped)
    return _Progress(_start(query), total, requeued, skipped)


def _start(query: Form) -> UUID:
    start = parse_id(query.require("start"))
    if start is None:
        raise MalformedForm(field="start")
    return start


def _query(request: AnyRequest) -> Form:
    return Form([*request.query_params.multi_items()])


def _given(form: Form) -> dict[str, str]:
    return {name: form.find(name) for name in FIELDS}


def _options(values: Sequence[str]) -> list[tuple[str, str]]:
    return [("", "Any"), *((value, sentence(value)) for value in values)]


def _number(form: Form, name: str) -> int:
    text = form.find(name)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
