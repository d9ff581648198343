"""A tenant's routes: which mail goes to which accounts.

They are one ordered list, so whoever changes it takes a turn, and each change is of a whole list
that holds together.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast
from uuid import UUID

import idna
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.ids import new_id, parse_id
from tallypost_domain.audit import service as audit
from tallypost_domain.audit.types import Actor
from tallypost_domain.domains.service import list_domains
from tallypost_domain.routing.errors import InvalidRoute, SendingRouteNotFound, TooManyRoutes
from tallypost_domain.routing.models import ProviderAccountRow, RouteRow
from tallypost_domain.routing.types import (
    PLATFORM,
    PLATFORM_PREFIX,
    NewRoute,
    RouteLane,
    RouteView,
)

MAX_ROUTES: Final = 100
MAX_ACCOUNTS_OF_ROUTE: Final = 10

_LANES: Final = frozenset({None, "transactional", "bulk"})
# As an email's tags: no other could ever match.
_TAG: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
# RFC 1035, section 3.1. The ASCII form of a name is no shorter.
_MAX_DOMAIN_CHARS: Final = 253

_TAKE_TURN: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
# Workers say which accounts the platform has; what tenants have is not among them.
_PLATFORM_ACCOUNTS: Final = text("SELECT DISTINCT account FROM account_states ORDER BY account")


class _Known(Struct, frozen=True):
    """What a route may name."""

    own: frozenset[str]
    platform: tuple[str, ...]
    domains: frozenset[UUID]
    domain_ids: Mapping[str, UUID]
    """By name."""


async def list_routes(session: AsyncSession, tenant_id: UUID) -> tuple[RouteView, ...]:
    """A tenant's routes in their order."""
    statement = select(RouteRow).where(RouteRow.tenant_id == tenant_id).order_by(RouteRow.position)
    return tuple(map(_view, await session.scalars(statement)))


async def replace_routes(
    session: AsyncSession,
    tenant_id: UUID,
    routes: Sequence[NewRoute],
    *,
    domain_names: Mapping[int, str] | None = None,
    actor: Actor,
) -> tuple[RouteView, ...]:
    """Put a list in the place of all routes; one that is a RouteView keeps its id.

    domain_names has, by the places of routes in the list, whose mail they are for, where that is
    known by name. Within a second workers go by it. Raises TooManyRoutes, InvalidRoute (its field
    is such as `routes[2].accounts[0]`).
    """
    await take_turn(session, tenant_id)
    return await _replace(session, tenant_id, routes, actor, domain_names)


async def add_route(
    session: AsyncSession, tenant_id: UUID, route: NewRoute, *, actor: Actor
) -> None:
    """Put a route behind all others. Raises TooManyRoutes, InvalidRoute."""
    await take_turn(session, tenant_id)
    await _replace(session, tenant_id, [*await list_routes(session, tenant_id), route], actor)


async def change_route(
    session: AsyncSession, tenant_id: UUID, route_id: UUID, route: NewRoute, *, actor: Actor
) -> None:
    """Put a route in the place of another. Raises SendingRouteNotFound, InvalidRoute."""
    await take_turn(session, tenant_id)
    routes: list[NewRoute] = list(await list_routes(session, tenant_id))
    routes[_index(routes, route_id)] = route.with_id(route_id)
    await _replace(session, tenant_id, routes, actor)


async def delete_route(
    session: AsyncSession, tenant_id: UUID, route_id: UUID, *, actor: Actor
) -> None:
    """Take a route away. Raises SendingRouteNotFound."""
    await take_turn(session, tenant_id)
    routes: list[NewRoute] = list(await list_routes(session, tenant_id))
    del routes[_index(routes, route_id)]
    await _replace(session, tenant_id, routes, actor)


async def move_route(
    session: AsyncSession, tenant_id: UUID, route_id: UUID, *, to: int, actor: Actor
) -> None:
    """Give a route this place in the list, the first being 0; to the end of the list at most.

    Raises SendingRouteNotFound.
    """
    await take_turn(session, tenant_id)
    routes: list[NewRoute] = list(await list_routes(session, tenant_id))
    routes.insert(max(0, to), routes.pop(_index(routes, route_id)))
    await _replace(session, tenant_id, routes, actor)


async def list_platform_accounts(session: AsyncSession) -> tuple[str, ...]:
    """The names of the platform's accounts, as workers have put them down."""
    return tuple(await session.scalars(_PLATFORM_ACCOUNTS))


async def list_named_accounts(session: AsyncSession, tenant_id: UUID) -> frozenset[str]:
    """Everything that the tenant's routes name."""
    statement = select(RouteRow.accounts).where(RouteRow.tenant_id == tenant_id)
    return frozenset(name for names in await session.scalars(statement) for name in names)


async def take_turn(session: AsyncSession, tenant_id: UUID) -> None:
    """Wait until nobody else changes the tenant's routes; the turn ends with the transaction."""
    await session.execute(_TAKE_TURN, {"name": f"tallypost.routing:{tenant_id}"})


async def _replace(
    session: AsyncSession,
    tenant_id: UUID,
    routes: Sequence[NewRoute],
    actor: Actor,
    domain_names: Mapping[int, str] | None = None,
) -> tuple[RouteView, ...]:
    if len(routes) > MAX_ROUTES:
        raise TooManyRoutes
    before = {view.id: view for view in await list_routes(session, tenant_id)}
    known = await _list_known(session, tenant_id)
    routes = [
        _tidy(route, f"routes[{index}]", (domain_names or {}).get(index), known)
        for index, route in enumerate(routes)
    ]
    for index, route in enumerate(routes):
        if isinstance(route, RouteView):
            if route.id not in before:
                raise InvalidRoute("There is no route of this id.", field=f"routes[{index}].id")
            if route == before[route.id]:
                # It was good when it was written; an account of the platform that is gone since
                # must not keep anybody from the other routes.
                continue
        _require_valid(route, f"routes[{index}]", known)
    views = tuple(
        route if isinstance(route, RouteView) else route.with_id(new_id()) for route in routes
    )
    if len({view.id for view in views}) < len(views):
        raise InvalidRoute("A route is in the list twice.", field="routes")
    if views == tuple(before.values()):
        # Nothing has changed, so workers need not hear of it and nobody is said to have done it.
        return views
    await session.execute(delete(RouteRow).where(RouteRow.tenant_id == tenant_id))
    if views:
        rows = [_columns(tenant_id, position, view) for position, view in enumerate(views)]
        await session.execute(insert(RouteRow), rows)
    await audit.record(
        session, tenant_id, "routes.replaced", actor=actor, changes={"count": len(views)}
    )
    return views


async def _list_known(session: AsyncSession, tenant_id: UUID) -> _Known:
    accounts = select(ProviderAccountRow.id).where(ProviderAccountRow.tenant_id == tenant_id)
    domains = await list_domains(session, tenant_id)
    return _Known(
        own=frozenset(str(id_) for id_ in await session.scalars(accounts)),
        platform=await list_platform_accounts(session),
        domains=frozenset(domain.id for domain in domains),
        domain_ids={domain.name: domain.id for domain in domains},
    )


def _tidy(route: NewRoute, field: str, domain_name: str | None, known: _Known) -> NewRoute:
    """The route as it is stored: with ids in lower case, and the domain's in place of its name."""
    accounts = tuple(str(parse_id(account) or account) for account in route.accounts)
    if domain_name is None:
        return replace(route, accounts=accounts)
    domain_id = known.domain_ids.get(_tidy_domain_name(domain_name))
    if domain_id is None:
        raise InvalidRoute(
            "There is no domain of this name. Give one that you send from, such as example.com, "
            "or leave it out for all of them.",
            field=f"{field}.domain",
        )
    if route.domain_id not in (None, domain_id):
        raise InvalidRoute(
            "`domain` and `domain_id` mean two domains. Leave one of them out.",
            field=f"{field}.domain",
        )
    return replace(route, accounts=accounts, domain_id=domain_id)


def _tidy_domain_name(name: str) -> str:
    """The name in lower case and its ASCII form, as it is stored; what has none stays as it is."""
    name = name.strip().lower()
    if name.isascii() or len(name) > _MAX_DOMAIN_CHARS:
        return name
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        return name


def _require_valid(route: NewRoute, field: str, known: _Known) -> None:
    _require_accounts(route.accounts, f"{field}.accounts", known)
    if route.domain_id is not None and route.domain_id not in known.domains:
        raise InvalidRoute("There is no such domain.", field=f"{field}.domain_id")
    if route.lane not in _LANES:
        raise InvalidRoute("A lane is transactional or bulk.", field=f"{field}.lane")
    if route.tag_value is not None and route.tag_name is None:
        raise InvalidRoute("A tag's value needs the tag's name.", field=f"{field}.tag_name")
    for name, value in (("tag_name", route.tag_name), ("tag_value", route.tag_value)):
        if value is not None and not _TAG.fullmatch(value):
            raise InvalidRoute(
                "A tag is 1 to 256 ASCII letters, digits, underscores and dashes.",
                field=f"{field}.{name}",
            )
    if not 0 < route.share <= 1:
        raise InvalidRoute("A share is above 0 and at most 1.", field=f"{field}.share")


def _require_accounts(accounts: Sequence[str], field: str, known: _Known) -> None:
    if not 1 <= len(accounts) <= MAX_ACCOUNTS_OF_ROUTE:
        raise InvalidRoute("A route names 1 to 10 accounts.", field=field)
    if len(set(accounts)) < len(accounts):
        raise InvalidRoute("A route names an account once.", field=field)
    for index, account in enumerate(accounts):
        if account == PLATFORM or account in known.own:
            continue
        if account.removeprefix(PLATFORM_PREFIX) in known.platform and account.startswith(
            PLATFORM_PREFIX
        ):
            continue
        raise InvalidRoute(_describe_known(known), field=f"{field}[{index}]")


def _describe_known(known: _Known) -> str:
    named = ", ".join(f"`{PLATFORM_PREFIX}{name}`" for name in known.platform)
    one = f", or one of the platform's: {named}" if named else ""
    return f"There is no such account. A route names ids of provider accounts, `{PLATFORM}`{one}."


def _index(routes: Sequence[NewRoute], route_id: UUID) -> int:
    for index, route in enumerate(routes):
        if isinstance(route, RouteView) and route.id == route_id:
            return index
    raise SendingRouteNotFound


def _view(row: RouteRow) -> RouteView:
    return RouteView(
        id=row.id,
        accounts=tuple(row.accounts),
        domain_id=row.domain_id,
        lane=cast("RouteLane | None", row.lane),
        tag_name=row.tag_name,
        tag_value=row.tag_value,
        share=row.share,
    )


def _columns(tenant_id: UUID, position: int, route: RouteView) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "id": route.id,
        "position": position,
        "accounts": list(route.accounts),
        "domain_id": route.domain_id,
        "lane": route.lane,
        "tag_name": route.tag_name,
        "tag_value": route.tag_value,
        "share": route.share,
    }
