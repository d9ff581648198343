"""Which accounts mail would ask now, by its domain and lane: what routes come to in practice."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.account_findings import list_unverified
from tallypost_console.account_names import AccountNames, name_accounts
from tallypost_core.ids import new_id
from tallypost_domain.domains.service import SendingDomain
from tallypost_domain.routing.accounts import list_accounts
from tallypost_domain.routing.routes import list_platform_accounts, list_routes
from tallypost_domain.routing.standings import list_standings
from tallypost_domain.routing.types import (
    PLATFORM,
    PLATFORM_PREFIX,
    AccountView,
    RouteView,
)
from tallypost_providers.router import Mail, Route, pick

_LANES: Final = ("transactional", "bulk")
_SHOWN_DOMAINS: Final = 5
_NOT_VERIFIED: Final = "the domain is not verified there"


class Way(Struct, frozen=True):
    """An account that a route names."""

    name: str
    left_out: str
    """Why it is not asked; empty where it is."""
    note: str = ""


class Portion(Struct, frozen=True):
    """What becomes of a part of the mail."""

    share: float
    """Of all of it."""
    number: int | None
    """Of the route; None where no route fits."""
    ways: tuple[Way, ...]

    @property
    def waits(self) -> bool:
        """Whether no account is left that may be asked."""
        return all(way.left_out for way in self.ways)


class Preview(Struct, frozen=True):
    """What becomes of mail; whatever fares alike stands together."""

    mail: tuple[str, ...]
    portions: tuple[Portion, ...]

    @property
    def shown_mail(self) -> str:
        """Which mail it is, the first few by name."""
        shown = ", ".join(self.mail[:_SHOWN_DOMAINS])
        more = len(self.mail) - _SHOWN_DOMAINS
        return f"{shown} and {more:,} more" if more > 0 else shown


class Situation(Struct, frozen=True, kw_only=True):
    """Everything that decides which accounts are asked."""

    routes: Sequence[RouteView]
    accounts: Sequence[AccountView]
    platform: Sequence[str]
    """Names of the platform's accounts."""
    names: AccountNames
    unverified: frozenset[tuple[str, UUID]]


class Dispatch(Struct, frozen=True):
    """Whom one email goes to."""

    is_by_route: bool
    ways: tuple[Way, ...]

    @property
    def waits(self) -> bool:
        """Whether no account is left that may be asked."""
        return all(way.left_out for way in self.ways)


async def load_situation(session: AsyncSession, tenant_id: UUID) -> Situation:
    """How things are for a tenant's mail at this moment."""
    routes = await list_routes(session, tenant_id)
    accounts = await list_accounts(session, tenant_id)
    return Situation(
        routes=routes,
        accounts=accounts,
        platform=await list_platform_accounts(session),
        names=name_accounts(accounts),
        unverified=list_unverified(await list_standings(session, tenant_id)),
    )


def find_dispatch(situation: Situation, mail: Mail) -> Dispatch:
    """Which accounts a live email asks, and which of them it may not."""
    named = pick(map(_route, situation.routes), mail, ())
    ways = _list_ways(situation, named or (PLATFORM,), mail.domain_id)
    return Dispatch(bool(named), ways)


def preview(situation: Situation, domains: Iterable[SendingDomain]) -> tuple[Preview, ...]:
    """For live mail without tags, from each verified domain in each lane."""
    routes = [_route(route) for route in situation.routes]
    alike: dict[tuple[Portion, ...], dict[str, list[str]]] = {}
    # Tenants may have any number of domains, and few of them stand out.
    known: dict[tuple[Hashable, str], tuple[Portion, ...]] = {}
    kind_of = _kinds(situation)
    for domain in domains:
        if not domain.is_verified:
            continue
        for lane in _LANES:
            kind = (kind_of(domain.id), lane)
            portions = known.get(kind)
            if portions is None:
                mail = Mail(email_id=new_id(), mode="live", domain_id=domain.id, lane=lane, tags={})
                portions = known[kind] = tuple(_list_portions(situation, routes, mail))
            alike.setdefault(portions, {}).setdefault(domain.name, []).append(lane)
    return tuple(
        Preview(
            tuple(
                name if len(lanes) == len(_LANES) else f"{name} ({lanes[0]})"
                for name, lanes in mail_of.items()
            ),
            portions,
        )
        for portions, mail_of in alike.items()
    )


def _kinds(situation: Situation) -> Callable[[UUID], Hashable]:
    """What tells apart domains whose mail may go different ways: a route that names the one, and
    accounts where it is not verified."""
    named = {route.domain_id for route in situation.routes}
    closed: defaultdict[UUID, set[str]] = defaultdict(set)
    for account, domain_id in situation.unverified:
        closed[domain_id].add(account)

    def kind_of(domain_id: UUID) -> Hashable:
        return domain_id if domain_id in named else None, frozenset(closed.get(domain_id, ()))

    return kind_of


def _list_portions(situation: Situation, routes: Sequence[Route], mail: Mail) -> Iterator[Portion]:
    left = 1.0
    for number, route in enumerate(routes, start=1):
        if not route.fits(mail):
            continue
        ways = _list_ways(situation, route.accounts, mail.domain_id)
        yield Portion(left * route.share, number, ways)
        left *= 1 - route.share
        if not left:
            return
    yield Portion(left, None, _list_ways(situation, (PLATFORM,), mail.domain_id))


def _list_ways(situation: Situation, accounts: Iterable[str], domain_id: UUID) -> tuple[Way, ...]:
    own = {str(account.id): account for account in situation.accounts}
    return tuple(_find_way(situation, own.get(account), account, domain_id) for account in accounts)


def _find_way(situation: Situation, own: AccountView | None, account: str, domain_id: UUID) -> Way:
    name = situation.names.name_in_route(account)
    if account == PLATFORM:
        return _find_platform(situation, name, domain_id)
    bare = account.removeprefix(PLATFORM_PREFIX)
    if own is None and bare not in situation.platform:
        return Way(name, "it is not there now")
    if own is not None and not own.is_on:
        return Way(name, "it is switched off")
    return Way(name, _NOT_VERIFIED if (bare, domain_id) in situation.unverified else "")


def _find_platform(situation: Situation, name: str, domain_id: UUID) -> Way:
    closed = [each for each in situation.platform if (each, domain_id) in situation.unverified]
    if closed and len(closed) == len(situation.platform):
        return Way(name, _NOT_VERIFIED)
    return Way(name, "", f"without {', '.join(closed)}: {_NOT_VERIFIED}" if closed else "")


def _route(route: RouteView) -> Route:
    return Route(
        id=route.id,
        accounts=route.accounts,
        domain_id=route.domain_id,
        lane=route.lane,
        tag_name=route.tag_name,
        tag_value=route.tag_value,
        share=route.share,
    )
