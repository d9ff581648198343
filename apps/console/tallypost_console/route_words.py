"""A tenant's routes in words."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct

from tallypost_console.account_names import AccountNames
from tallypost_domain.routing.types import RouteView

LANES: Final[Mapping[str | None, str]] = {
    None: "All mail",
    "transactional": "Transactional mail",
    "bulk": "Bulk mail",
}

_SHOWN_NUMBERS: Final = 5


class RouteLine(Struct, frozen=True, kw_only=True):
    """A route as a list shows it."""

    id: UUID
    number: int
    """Its place in the list; the first one is 1."""
    mail: str
    share: str
    """Empty where all of that mail goes by it."""
    accounts: str
    is_never_reached: bool
    """A route before it takes all of its mail."""

    @property
    def sentence(self) -> str:
        """The route in one line."""
        share = f" · {self.share}" if self.share else ""
        return f"{self.mail}{share} → {self.accounts}"


def describe_routes(
    routes: Sequence[RouteView], names: AccountNames, domains: Mapping[UUID, str]
) -> tuple[RouteLine, ...]:
    """All routes in their order; domains are names by their ids, read after the routes."""
    return tuple(
        RouteLine(
            id=route.id,
            number=number,
            mail=_describe_mail(route, domains),
            share="" if route.share == 1 else f"{percent(route.share)} % of it",
            accounts=", then ".join(map(names.name_in_route, route.accounts)),
            is_never_reached=any(_takes_all(before, route) for before in routes[: number - 1]),
        )
        for number, route in enumerate(routes, start=1)
    )


def name_numbers(numbers: Sequence[int]) -> str:
    """`route 2`, `routes 1 and 4`, `routes 1, 2, 3, 4, 5 and 3 more`."""
    shown = [str(number) for number in numbers[:_SHOWN_NUMBERS]]
    more = len(numbers) - _SHOWN_NUMBERS
    if more > 0:
        shown.append(f"{more:,} more")
    listed = " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
    return f"route {listed}" if len(numbers) == 1 else f"routes {listed}"


def percent(share: float) -> str:
    """A share as a number of per cent, to six digits and without zeros at its end."""
    return f"{share * 100:g}"


def takes_everything(route: RouteView) -> bool:
    """Whether nothing is left for whatever comes behind it."""
    return _takes_all(route, RouteView(id=route.id, accounts=route.accounts))


def _describe_mail(route: RouteView, domains: Mapping[UUID, str]) -> str:
    words = [LANES[route.lane]]
    if route.domain_id is not None:
        words.append(f"from {domains[route.domain_id]}")
    if route.tag_name is not None:
        value = "" if route.tag_value is None else f"={route.tag_value}"
        words.append(f"tagged {route.tag_name}{value}")
    return " ".join(words)


def _takes_all(route: RouteView, other: RouteView) -> bool:
    """Whether route leaves none of the mail that fits other."""
    return (
        route.share == 1
        and route.domain_id in {None, other.domain_id}
        and route.lane in {None, other.lane}
        and route.tag_name in {None, other.tag_name}
        and route.tag_value in {None, other.tag_value}
    )
