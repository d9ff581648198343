"""Which of the tenant's mail goes to which accounts, and where its domains stand there."""

import datetime as dt
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Controller, Request, put
from litestar.di import NamedDependency
from msgspec import Meta, Struct

from tallypost_api.bodies import BODY_KEY
from tallypost_api.caller import Caller
from tallypost_api.own.bodies import read_object
from tallypost_api.own.reading import get
from tallypost_api.permissions import OPT_KEY, Permission
from tallypost_api.style import STYLE_KEY, Style
from tallypost_domain.domains.service import SendingDomain, list_domains
from tallypost_domain.routing import routes
from tallypost_domain.routing.standings import is_own, leave_out_former, list_standings
from tallypost_domain.routing.types import (
    PLATFORM_PREFIX,
    DomainRecord,
    NewRoute,
    RouteLane,
    RouteView,
    StandingStatus,
    StandingView,
)

_READ: Final = {OPT_KEY: Permission.ROUTING_READ}
_CHANGE: Final = {OPT_KEY: Permission.ROUTING_CHANGE}


# What the domain requires, for the description only: it is the domain that says what is wrong.
AccountNames = Annotated[
    tuple[str, ...],
    Meta(
        extra_json_schema={
            "minItems": 1,
            "maxItems": routes.MAX_ACCOUNTS_OF_ROUTE,
            "uniqueItems": True,
        }
    ),
]
TagPart = Annotated[str, Meta(extra_json_schema={"pattern": "^[A-Za-z0-9_-]{1,256}$"})]
Share = Annotated[float, Meta(extra_json_schema={"exclusiveMinimum": 0, "maximum": 1})]


class RouteBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A route; what is null or left out it does not look at."""

    id: UUID | None = None
    """Of a route that stays; null for a new one."""
    accounts: AccountNames
    """Best first: ids of accounts of one's own, `platform` for all of the platform's, or
    `platform:` and the name of one of those."""
    domain: str | None = None
    """The name of a domain of one's own, verified or not; `domain_id` need not be known then."""
    domain_id: UUID | None = None
    """The same by its id, as answers have it. If both are given, they have to be of one domain."""
    lane: RouteLane | None = None
    tag_name: TagPart | None = None
    tag_value: TagPart | None = None
    """With `tag_name`: of that value only."""
    share: Share = 1.0
    """Above 0 and up to 1: of the mail that fits, so much; the rest goes on to the next route."""


class RouteListBody(Struct, frozen=True, forbid_unknown_fields=True):
    """All routes in their order: the first one that fits an email counts."""

    routes: Annotated[
        tuple[RouteBody, ...], Meta(extra_json_schema={"maxItems": routes.MAX_ROUTES})
    ]


class RouteAnswer(Struct, frozen=True, kw_only=True):
    """A route at its place; it does not look at what is null."""

    id: UUID
    accounts: tuple[str, ...]
    """Best first: ids of accounts of one's own, `platform` for all of the platform's, or
    `platform:` and the name of one of those."""
    domain: str | None
    """Lower case, in ASCII form."""
    domain_id: UUID | None
    lane: RouteLane | None
    tag_name: str | None
    tag_value: str | None
    """With `tag_name`: of that value only."""
    share: float
    """Above 0 and up to 1: of the mail that fits, so much; the rest goes on to the next route."""


class RouteList(Struct, frozen=True):
    """All routes in their order: the first one that fits an email counts."""

    routes: tuple[RouteAnswer, ...]


class RecordAnswer(Struct, frozen=True, kw_only=True):
    """A DNS record that a provider wants to see."""

    type: str
    name: str
    value: str
    found: bool


class StandingAnswer(Struct, frozen=True, kw_only=True):
    """Where a sending domain stands at an account whose provider has to know it."""

    domain_id: UUID
    domain: str
    account: str
    """As routes name it."""
    status: StandingStatus
    """`unverified`: its mail does not go by the account. `unknown`: there is no answer yet; where
    nobody has asked, `checked_at` is null. A provider that does not say leaves it as it was."""
    detail: str
    """What is missing, what else is to be known, or why there was no answer the last time: in the
    provider's own words, or in ours. Empty where there is nothing to say."""
    records: tuple[RecordAnswer, ...]
    """What the provider wants to see in the DNS."""
    checked_at: dt.datetime | None
    """When the provider was asked last, whether it said or not; null where nobody has asked yet."""


class StandingList(Struct, frozen=True):
    """All of them, by domain."""

    data: tuple[StandingAnswer, ...]


class RouteController(Controller):
    """`/routes`."""

    path = "/routes"
    tags = ("Routes",)
    opt = {STYLE_KEY: Style.OURS}  # noqa: RUF012 - Litestar reads it from the class

    @get(opt=_READ)
    async def list_routes(self, caller: NamedDependency[Caller]) -> RouteList:
        """Read the routes in their order. Mail that none fits goes by the platform."""
        async with caller.session() as session:
            views = await routes.list_routes(session, caller.tenant_id)
            domains = await list_domains(session, caller.tenant_id)
        return _answer(views, domains)

    @put(opt=_CHANGE | {BODY_KEY: RouteListBody})
    async def replace_routes(
        self, request: Request[Any, Any, Any], caller: NamedDependency[Caller]
    ) -> RouteList:
        """Put a list in the place of all routes; within a second mail goes by it."""
        caller.require_live()
        asked = await read_object(request, RouteListBody)
        async with caller.session() as session:
            views = await routes.replace_routes(
                session,
                caller.tenant_id,
                [_route(body) for body in asked.routes],
                domain_names={
                    place: body.domain
                    for place, body in enumerate(asked.routes)
                    if body.domain is not None
                },
                actor=caller.as_actor(request),
            )
            domains = await list_domains(session, caller.tenant_id)
        return _answer(views, domains)


class StandingController(Controller):
    """`/domain-standings`."""

    path = "/domain-standings"
    tags = ("Routes",)
    opt = {STYLE_KEY: Style.OURS}  # noqa: RUF012 - Litestar reads it from the class

    @get(opt=_READ)
    async def list_standings(self, caller: NamedDependency[Caller]) -> StandingList:
        """List where the domains stand at the accounts, the platform's and one's own."""
        async with caller.session() as session:
            views = await list_standings(session, caller.tenant_id)
            platform = await routes.list_platform_accounts(session)
        return StandingList(tuple(map(_standing, leave_out_former(views, platform))))


def _route(body: RouteBody) -> NewRoute:
    route = NewRoute(
        accounts=body.accounts,
        domain_id=body.domain_id,
        lane=body.lane,
        tag_name=body.tag_name,
        tag_value=body.tag_value,
        share=body.share,
    )
    return route if body.id is None else route.with_id(body.id)


def _answer(views: tuple[RouteView, ...], domains: tuple[SendingDomain, ...]) -> RouteList:
    names = {domain.id: domain.name for domain in domains}
    return RouteList(
        tuple(
            RouteAnswer(
                id=view.id,
                accounts=view.accounts,
                domain=None if view.domain_id is None else names.get(view.domain_id),
                domain_id=view.domain_id,
                lane=view.lane,
                tag_name=view.tag_name,
                tag_value=view.tag_value,
                share=view.share,
            )
            for view in views
        )
    )


def _standing(view: StandingView) -> StandingAnswer:
    return StandingAnswer(
        domain_id=view.domain_id,
        domain=view.domain,
        account=view.account if is_own(view) else f"{PLATFORM_PREFIX}{view.account}",
        status=view.status,
        detail=view.detail,
        records=tuple(map(_record, view.records)),
        checked_at=view.checked_at,
    )


def _record(record: DomainRecord) -> RecordAnswer:
    return RecordAnswer(
        type=record.type, name=record.name, value=record.value, found=record.is_found
    )
