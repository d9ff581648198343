"""Routes of the open tenant: which mail goes to which accounts, and what that comes to now."""

import re
import secrets
from typing import Any, Final
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.access import OPT_KEY
from tallypost_console.account_names import name_accounts
from tallypost_console.errors import MalformedForm
from tallypost_console.forms import read_form
from tallypost_console.pages.providers import MENDABLE
from tallypost_console.rendering import AnyRequest, is_partial, render
from tallypost_console.route_forms import (
    RouteFields,
    fields_in,
    fields_of,
    list_account_options,
    list_domain_options,
    list_lane_options,
    read_route,
)
from tallypost_console.route_previews import load_situation, preview
from tallypost_console.route_words import describe_routes, takes_everything
from tallypost_console.services import Services
from tallypost_console.visitors import Visitor, as_actor
from tallypost_core.errors import HTTP_STATUS, AppError
from tallypost_core.ids import parse_id
from tallypost_domain.domains.service import list_domains
from tallypost_domain.people.permissions import Permission
from tallypost_domain.people.types import TenantRow
from tallypost_domain.routing.accounts import list_accounts
from tallypost_domain.routing.errors import SendingRouteNotFound
from tallypost_domain.routing.routes import (
    add_route,
    change_route,
    delete_route,
    list_platform_accounts,
    list_routes,
    move_route,
)
from tallypost_domain.routing.types import RouteView

_PATH: Final = "/routes"
_LIST: Final = "routes.html"
_FORM: Final = "route.html"
_WRITE: Final = {OPT_KEY: Permission.ACCOUNTS_WRITE}
_PLACE: Final = re.compile("[1-9][0-9]{0,2}")


class RoutePages(Controller):
    """The list of routes, and the form of each."""

    path = _PATH
    opt = {OPT_KEY: Permission.ACCOUNTS_READ}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_routes(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
    ) -> Response[str]:
        """All routes in their order, and which accounts mail would ask by them now."""
        return render(request, _LIST, **await _listed(session, tenant))

    @get("/new", opt=_WRITE)
    async def show_new(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        account: FromQuery[str] = "",
    ) -> Response[str]:
        """The form for a route, in which an account may stand already."""
        fields = RouteFields(accounts=(account,) if parse_id(account) else ())
        return render(request, _FORM, **await _filled_in(session, tenant, fields))

    @post("/", status_code=303, opt=_WRITE)
    async def add(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
    ) -> Response[Any]:
        """Put a route behind all others; or show the form again with what is wrong."""
        form = await read_form(request)
        form_id = form.require("form_id")
        if not services.sent_forms.add(form_id):
            notice = "This form was sent before. If the route was added then, it is in the list."
            return render(
                request, _LIST, status_code=409, **await _listed(session, tenant, notice=notice)
            )
        fields = fields_in(form)
        try:
            with services.sent_forms.forgetting_failure(form_id):
                actor = as_actor(request, visitor.person)
                await add_route(session, tenant.id, read_route(fields), actor=actor)
        except AppError as error:
            if error.kind not in MENDABLE:
                raise
            page = await _filled_in(session, tenant, fields, error=error)
            return render(request, _FORM, status_code=HTTP_STATUS[error.kind], **page)
        return Redirect(_PATH, status_code=303)

    @get("/{route_id:str}", opt=_WRITE)
    async def show_route(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        route_id: FromPath[str],
    ) -> Response[str]:
        """The form of a route as it is."""
        found = await _find_route(session, tenant.id, _require_id(route_id))
        page = await _filled_in(session, tenant, fields_of(found), route=found)
        return render(request, _FORM, **page)

    @post("/{route_id:str}", status_code=303, opt=_WRITE)
    async def change(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
        route_id: FromPath[str],
    ) -> Response[Any]:
        """Change a route; or show the form again with what is wrong."""
        found = await _find_route(session, tenant.id, _require_id(route_id))
        fields = fields_in(await read_form(request))
        try:
            actor = as_actor(request, visitor.person)
            await change_route(session, tenant.id, found.id, read_route(fields), actor=actor)
        except AppError as error:
            if error.kind not in MENDABLE:
                raise
            page = await _filled_in(session, tenant, fields, route=found, error=error)
            return render(request, _FORM, status_code=HTTP_STATUS[error.kind], **page)
        return Redirect(_PATH, status_code=303)

    @post("/{route_id:str}/move", status_code=200, opt=_WRITE)
    async def move(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
        route_id: FromPath[str],
    ) -> Response[Any]:
        """Give a route the place that the button named; sent twice, it is there all the same."""
        wanted, place = _require_id(route_id), (await read_form(request)).require("to")
        if not _PLACE.fullmatch(place):
            raise MalformedForm(field="to")
        actor = as_actor(request, visitor.person)
        await move_route(session, tenant.id, wanted, to=int(place) - 1, actor=actor)
        if is_partial(request):
            return render(request, _LIST, **await _listed(session, tenant))
        return Redirect(_PATH, status_code=303)

    @post("/{route_id:str}/delete", status_code=303, opt=_WRITE)
    async def delete(
        self,
        request: AnyRequest,
        session: NamedDependency[AsyncSession],
        tenant: NamedDependency[TenantRow],
        visitor: NamedDependency[Visitor],
        route_id: FromPath[str],
    ) -> Redirect:
        """Take a route away."""
        actor = as_actor(request, visitor.person)
        await delete_route(session, tenant.id, _require_id(route_id), actor=actor)
        return Redirect(_PATH, status_code=303)


# Any: what the template shows.
async def _listed(session: AsyncSession, tenant: TenantRow, *, notice: str = "") -> dict[str, Any]:
    situation = await load_situation(session, tenant.id)
    routes, names = situation.routes, situation.names
    domains = await list_domains(session, tenant.id)
    return {
        "tenant": tenant,
        "notice": notice,
        "lines": describe_routes(routes, names, {domain.id: domain.name for domain in domains}),
        "takes_everything": any(map(takes_everything, routes)),
        "previews": preview(situation, domains) if routes else (),
        "has_tags": any(route.tag_name for route in routes),
        "has_accounts": bool(situation.accounts),
    }


# Any: as above.
async def _filled_in(
    session: AsyncSession,
    tenant: TenantRow,
    fields: RouteFields,
    *,
    route: RouteView | None = None,
    error: AppError | None = None,
) -> dict[str, Any]:
    accounts = await list_accounts(session, tenant.id)
    routes = await list_routes(session, tenant.id)
    names = name_accounts(accounts)
    platform = await list_platform_accounts(session)
    places = [
        number for number, each in enumerate(routes, start=1) if route and each.id == route.id
    ]
    return {
        "tenant": tenant,
        "route": route,
        "number": places[0] if places else len(routes) + 1,
        "fields": fields,
        "domain_options": list_domain_options(await list_domains(session, tenant.id)),
        "lane_options": list_lane_options(),
        "account_options": list_account_options(accounts, platform, names, fields.accounts),
        "form_id": secrets.token_urlsafe(16),
        "errors": _place(error) if error else {},
    }


def _place(error: AppError) -> dict[str, str]:
    """The message by the field that it is about; `form` where it is about none of them."""
    # `routes[2].accounts[1]` is about one of the places for accounts, which the form shows as one.
    field = (error.field or "").rpartition(".")[2].partition("[")[0]
    if field == "accounts" and "." in (error.field or ""):
        # How many there are, and that each is there once, the form has judged by itself.
        return {field: "One of these accounts is not there any more. Choose another one."}
    known = {"accounts", "share", "tag_name", "tag_value", "domain_id", "lane"}
    return {field if field in known else "form": error.message}


async def _find_route(session: AsyncSession, tenant_id: UUID, route_id: UUID) -> RouteView:
    for route in await list_routes(session, tenant_id):
        if route.id == route_id:
            return route
    raise SendingRouteNotFound


def _require_id(text: str) -> UUID:
    route_id = parse_id(text)
    if route_id is None:
        raise SendingRouteNotFound
    return route_id
