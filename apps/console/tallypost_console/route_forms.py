"""The form of a route: what it offers, and what somebody gave."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, cast

from msgspec import Struct

from tallypost_console.account_names import AccountNames
from tallypost_console.errors import MalformedForm
from tallypost_console.forms import Form
from tallypost_console.route_words import LANES
from tallypost_console.words import exact, sentence
from tallypost_core.ids import parse_id
from tallypost_domain.domains.service import SendingDomain
from tallypost_domain.routing.errors import InvalidRoute
from tallypost_domain.routing.routes import MAX_ACCOUNTS_OF_ROUTE
from tallypost_domain.routing.types import (
    PLATFORM,
    PLATFORM_PREFIX,
    AccountView,
    NewRoute,
    RouteLane,
)

_CHOICES: Final = 5
_ORDINALS: Final = (
    "First",
    "Second",
    "Third",
    "Fourth",
    "Fifth",
    "Sixth",
    "Seventh",
    "Eighth",
    "Ninth",
    "Tenth",
)

Options = list[tuple[str, str]]


class RouteFields(Struct, frozen=True, kw_only=True):
    """What stands in the fields."""

    domain: str = ""
    lane: str = ""
    tag_name: str = ""
    tag_value: str = ""
    share: str = "100"
    accounts: tuple[str, ...] = ()

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Places for accounts, best first: what each is called, and what is chosen there."""
        # One more than are taken, so that one can be added.
        count = min(MAX_ACCOUNTS_OF_ROUTE, max(_CHOICES, len(self.accounts) + 1))
        chosen = (*self.accounts, *[""] * count)
        return list(zip(_ORDINALS[:count], chosen, strict=False))


def fields_of(route: NewRoute) -> RouteFields:
    """The fields of a route that is there."""
    return RouteFields(
        domain="" if route.domain_id is None else str(route.domain_id),
        lane=route.lane or "",
        tag_name=route.tag_name or "",
        tag_value=route.tag_value or "",
        share=exact(route.share, digits_on=2),
        accounts=route.accounts,
    )


def fields_in(form: Form) -> RouteFields:
    """The fields of a form that was sent, as they were."""
    return RouteFields(
        domain=form.find("domain"),
        lane=form.find("lane"),
        tag_name=form.find("tag_name"),
        tag_value=form.find("tag_value"),
        share=form.find("share"),
        accounts=tuple(filter(None, form.list_values("account")))[:MAX_ACCOUNTS_OF_ROUTE],
    )


def read_route(fields: RouteFields) -> NewRoute:
    """The route that they mean. Raises MalformedForm, and InvalidRoute with the form's field."""
    domain_id = parse_id(fields.domain) if fields.domain else None
    if fields.domain and domain_id is None:
        raise MalformedForm(field="domain")
    if fields.lane and fields.lane not in LANES:
        raise MalformedForm(field="lane")
    accounts = fields.accounts
    if not accounts:
        raise InvalidRoute("Choose at least one account.", field="accounts")
    if len(set(accounts)) < len(accounts):
        raise InvalidRoute("Choose each account once.", field="accounts")
    return NewRoute(
        accounts=accounts,
        domain_id=domain_id,
        lane=cast("RouteLane", fields.lane) if fields.lane else None,
        tag_name=fields.tag_name.strip() or None,
        tag_value=fields.tag_value.strip() or None,
        share=_read_share(fields.share),
    )


def list_domain_options(domains: Iterable[SendingDomain]) -> Options:
    """Any domain, and each of the tenant's."""
    return [
        ("", "Any of your domains"),
        *(
            (str(domain.id), domain.name if domain.is_verified else f"{domain.name} (not verified)")
            for domain in domains
        ),
    ]


def list_lane_options() -> Options:
    """Both lanes, and either."""
    return [(lane or "", words) for lane, words in LANES.items()]


def list_account_options(
    accounts: Iterable[AccountView],
    platform: Iterable[str],
    names: AccountNames,
    chosen: Sequence[str] = (),
) -> Options:
    """The tenant's own, the platform, and the platform's own one by one.

    What is chosen already stays a choice, though it may not be there any more.
    """
    options = [
        ("", "–"),
        *(
            (str(account.id), account.name if account.is_on else f"{account.name} (off)")
            for account in accounts
        ),
        *(
            (name, sentence(names.name_in_route(name)))
            for name in (PLATFORM, *(PLATFORM_PREFIX + name for name in platform))
        ),
    ]
    known = {value for value, _ in options}
    return options + [
        (value, f"{sentence(names.name_in_route(value))} (not there now)")
        for value in dict.fromkeys(chosen)
        if value not in known
    ]


def _read_share(text: str) -> float:
    try:
        # As a decimal: what was stored and is sent again unchanged stays the very same number.
        share = float(Decimal(text.replace("%", "").replace(",", ".").strip()).scaleb(-2))
    except (ArithmeticError, ValueError):
        share = 0.0
    # Also false for what is no number.
    if not 0 < share <= 1:
        raise InvalidRoute("A share is a number above 0 and up to 100.", field="share")
    return share
