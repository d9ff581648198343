"""Dead letters: recipients that were given up for a cause not their own, and their way back."""

import datetime as dt
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.addresses import address_of
from tallypost_console.errors import MalformedForm
from tallypost_console.forms import Form, read_form
from tallypost_console.modes import read_mode
from tallypost_console.rendering import AnyRequest, render
from tallypost_console.services import Services
from tallypost_console.visitors import Visitor, as_actor
from tallypost_console.words import sentence
from tallypost_core.ids import parse_id
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import TenantRow
from tallypost_domain.queue.dead_letters import (
    DeadLetterFilter,
    count_dead_letters,
    list_causes,
    list_dead_letters,
)
from tallypost_domain.queue.requeueing import MAX_STEP, requeue, requeue_matching
from tallypost_domain.tenants.service import list_streams
from tallypost_providers.types import Mode

PAGE_SIZE: Final = 50

_PATH: Final = "/queue/dead-letters"
_REQUEUE: Final = {OPT_KEY: Permission.QUEUE_REQUEUE}


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
        cause: FromQuery[str] = "",
        stream: FromQuery[str] = "",
        domain: FromQuery[str] = "",
        since: FromQuery[str] = "",
        until: FromQuery[str] = "",
        after: FromQuery[UUID | None] = None,
    ) -> Response[str]:
        """One page of them, newest first, with those that match counted."""
        given = {
            "cause": cause,
            "stream": stream,
            "domain": domain,
            "since": since,
            "until": until,
        }
        wanted = _filter(given)
        page = await list_dead_letters(
            session, tenant.id, mode, wanted, limit=PAGE_SIZE, after=after
        )
        here = address_of(_PATH, mode=mode, **given)
        return render(
            request,
            "dead_letters.html",
            tenant=tenant,
            mode=mode,
            letters=page.items,
            counted=await count_dead_letters(session, tenant.id, mode, wanted),
            given=given,
            is_filtered=any(given.values()),
            cause_options=_options(await list_causes(session, tenant.id, mode)),
            stream_options=_options(await list_streams(session, tenant.id)),
            here=here,
            is_first=after is None,
            after=page.items[-1].id if page.has_more else None,
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
        back = address_of(_PATH, mode=mode)
        return render(request, "requeued.html", tenant=tenant, mode=mode, done=done, back=back)

    @post("/requeue-matching", status_code=200, opt=_REQUEUE)
    async def requeue_step(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
    ) -> Response[str]:
        """Put back the next thousand that match; the page shows how far it is and goes on."""
        form = await read_form(request)
        mode = read_mode(form)
        start = parse_id(form.require("start"))
        if start is None:
            raise MalformedForm(field="start")
        given = {name: form.find(name) for name in ("cause", "stream", "domain", "since", "until")}
        step = await requeue_matching(
            session,
            tenant.id,
            mode,
            _filter(given),
            start=start,
            limit=MAX_STEP,
            actor=as_actor(request, visitor.person),
            peppers=services.peppers,
        )
        skipped = sum(step.skipped.values()) + _number(form, "skipped")
        requeued = step.recipients + _number(form, "requeued")
        return render(
            request,
            "requeueing.html",
            tenant=tenant,
            mode=mode,
            given=given,
            next=step.next,
            requeued=requeued,
            skipped=skipped,
            total=max(_number(form, "total"), requeued + skipped),
            back=address_of(_PATH, mode=mode, **given),
        )


def _options(values: Sequence[str]) -> list[tuple[str, str]]:
    return [("", "Any"), *((value, sentence(value)) for value in values)]


def _filter(given: dict[str, str]) -> DeadLetterFilter:
    """Raises MalformedForm, naming the field."""
    for name, value in given.items():
        # PostgreSQL takes no text that holds it.
        if "\0" in value:
            raise MalformedForm(f"`{name}` holds a character that cannot be stored.", field=name)
    return DeadLetterFilter(
        cause=given["cause"] or None,
        stream=given["stream"] or None,
        recipient_domain=given["domain"].strip().lower() or None,
        failed_from=_read_day(given, "since"),
        failed_before=_read_day(given, "until"),
    )


def _read_day(given: dict[str, str], name: str) -> dt.datetime | None:
    if not given[name]:
        return None
    try:
        day = dt.date.fromisoformat(given[name])
    except ValueError as error:
        raise MalformedForm(f"`{name}` is not a date such as 2026-11-26.", field=name) from error
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _number(form: Form, name: str) -> int:
    text = form.find(name)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
