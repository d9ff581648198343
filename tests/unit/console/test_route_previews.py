"""What the preview of routes says is what the router does."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_console import route_previews
from tallypost_console.account_names import name_accounts
from tallypost_console.dead_ends import describe_dead_end
from tallypost_console.route_previews import (
    Portion,
    Situation,
    Way,
    find_dispatch,
    preview,
)
from tallypost_core.ids import new_id
from tallypost_domain.domains.service import SendingDomain
from tallypost_domain.routing.types import PLATFORM, AccountView, NewRoute, RouteView
from tallypost_providers.router import Mail, Route, candidates, pick
from tallypost_providers.types import Capabilities, OutgoingEmail, Provider, SendResult

DOMAINS = tuple(SendingDomain(new_id(), f"{name}.example.com", True) for name in "abc")
OWN = tuple(new_id() for _ in range(3))
AT_THE_PLATFORM = ("ses", "smtp")
MENTIONED = (*map(str, OWN), PLATFORM, "platform:ses", "platform:smtp", "platform:gone")
ACCOUNTS = (*map(str, OWN), *AT_THE_PLATFORM)


class Account:
    """An account that is never asked."""

    name = "fake"
    rate_per_s: float | None = None
    capabilities = Capabilities(
        raw_mime=True,
        keeps_message_id=True,
        keeps_envelope=True,
        signs_dkim=False,
        idempotent=False,
        lookup=False,
        events=False,
        reaches_outside=True,
    )

    def __init__(self, account: str) -> None:
        self.account = account

    def find_obstacle(self, _email: OutgoingEmail) -> str | None:
        """It would take anything."""
        return None

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Nobody calls it."""
        raise AssertionError

    async def close(self) -> None:
        """Nothing to give back."""


def view(account_id: UUID, *, is_on: bool = True) -> AccountView:
    """An account that is called by its id."""
    moment = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
    return AccountView(
        id=account_id,
        name=str(account_id),
        provider="ses",
        settings={},
        secret_names=(),
        is_on=is_on,
        created_at=moment,
        changed_at=moment,
        is_being_checked=False,
        checked_at=None,
        check_steps=(),
    )


def situation(
    routes: Sequence[NewRoute],
    *,
    on: Sequence[UUID] = OWN,
    unverified: frozenset[tuple[str, UUID]] = frozenset(),
) -> Situation:
    """Routes, and which accounts may be asked."""
    accounts = tuple(view(account_id, is_on=account_id in on) for account_id in OWN)
    return Situation(
        routes=[route.with_id(new_id()) for route in routes],
        accounts=accounts,
        platform=AT_THE_PLATFORM,
        names=name_accounts(accounts),
        unverified=unverified,
    )


ROUTES = st.builds(
    NewRoute,
    accounts=st.lists(st.sampled_from(MENTIONED), min_size=1, max_size=4, unique=True).map(tuple),
    domain_id=st.none() | st.sampled_from([domain.id for domain in DOMAINS]),
    lane=st.sampled_from([None, "transactional", "bulk"]),
    tag_name=st.sampled_from([None, None, "kind"]),
    share=st.sampled_from([1.0, 1.0, 0.5, 0.01]),
)
SITUATIONS = st.builds(
    situation,
    st.lists(ROUTES, max_size=5),
    on=st.sets(st.sampled_from(OWN)),
    unverified=st.frozensets(
        st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from([each.id for each in DOMAINS]))
    ),
)


def fleet_of(given_: Situation) -> dict[str, Provider]:
    """The accounts as a worker has them: the tenant's own only where they are on."""
    own = (str(account.id) for account in given_.accounts if account.is_on)
    return {name: Account(name) for name in (*given_.platform, *own)}


def as_worker(route: RouteView) -> Route:
    """A route as a worker has it, with the platform's accounts one by one."""
    names: list[str] = []
    for account in route.accounts:
        bare = account.removeprefix("platform:")
        names.extend(AT_THE_PLATFORM if account == PLATFORM else [bare])
    return Route(
        id=route.id,
        accounts=tuple(dict.fromkeys(names)),
        domain_id=route.domain_id,
        lane=route.lane,
        tag_name=route.tag_name,
        tag_value=route.tag_value,
        share=route.share,
    )


def asked_by(ways: Sequence[Way]) -> list[str]:
    """The accounts that these words say are asked, each once."""
    asked: list[str] = []
    for way in ways:
        if way.left_out:
            continue
        if way.name == "the platform":
            without = way.note.partition("without ")[2].partition(":")[0].split(", ")
            asked.extend(name for name in AT_THE_PLATFORM if name not in without)
        else:
            asked.append(way.name.removeprefix("the platform's "))
    return list(dict.fromkeys(asked))


def portion_of(given_: Situation, domain: SendingDomain, mail: Mail) -> Portion:
    """The portion of the preview that this email belongs to."""
    numbers = {route.id: number for number, route in enumerate(given_.routes, start=1)}
    numbered = [
        Route(
            id=route.id,
            accounts=(str(numbers[route.id]),),
            domain_id=route.domain_id,
            lane=route.lane,
            tag_name=route.tag_name,
            share=route.share,
        )
        for route in given_.routes
    ]
    (number,) = pick(numbered, mail, ("0",))
    names = {domain.name, f"{domain.name} ({mail.lane})"}
    (shown,) = [each for each in preview(given_, DOMAINS) if names & {*each.mail}]
    (portion,) = [each for each in shown.portions if (each.number or 0) == int(number)]
    return portion


@given(SITUATIONS, st.sampled_from(DOMAINS), st.sampled_from(["transactional", "bulk"]))
def test_preview_and_router_agree(given_: Situation, domain: SendingDomain, lane: str) -> None:
    mail = Mail(email_id=new_id(), mode="live", domain_id=domain.id, lane=lane, tags={})
    named = pick(map(as_worker, given_.routes), mail, AT_THE_PLATFORM)
    taken = candidates(named, fleet_of(given_), mail, unverified=given_.unverified)
    portion = portion_of(given_, domain, mail)
    assert asked_by(portion.ways) == [account.account for account in taken]
    assert portion.waits == (not taken)
    dispatch = find_dispatch(given_, mail)
    assert (dispatch.ways, dispatch.waits) == (portion.ways, portion.waits)
    assert bool(describe_dead_end(dispatch)) == (not taken)


@given(SITUATIONS)
def test_portions_of_any_mail_are_all_of_it(given_: Situation) -> None:
    for each in preview(given_, DOMAINS):
        assert sum(portion.share for portion in each.portions) == pytest.approx(1)


def test_domains_that_nothing_tells_apart_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[UUID] = []
    look = route_previews._list_ways

    def note(given_: Situation, accounts: Sequence[str], domain_id: UUID) -> tuple[Way, ...]:
        looked_at.append(domain_id)
        return look(given_, accounts, domain_id)

    monkeypatch.setattr(route_previews, "_list_ways", note)
    many = [SendingDomain(new_id(), f"d{number}.example.com", True) for number in range(500)]
    given_ = situation(
        [NewRoute(accounts=(PLATFORM,), domain_id=many[7].id)],
        unverified=frozenset({("ses", many[9].id)}),
    )
    found = preview(given_, many)
    # One that a route names, one that stands otherwise at an account, and all the others.
    assert sorted(len(each.mail) for each in found) == [1, 1, 498]
    assert len(looked_at) == 3 * 2


def test_email_without_a_way_says_which_accounts_are_left_out_and_why() -> None:
    unverified = frozenset({(name, DOMAINS[0].id) for name in AT_THE_PLATFORM})
    mail = Mail(
        email_id=new_id(), mode="live", domain_id=DOMAINS[0].id, lane="bulk", tags={"kind": "a"}
    )
    route = NewRoute(accounts=(str(OWN[0]), "platform:gone"), tag_name="kind", tag_value="a")
    given_ = situation([route], on=(), unverified=unverified)
    assert describe_dead_end(find_dispatch(given_, mail)) == (
        f"No account of its route may be asked: {OWN[0]}: it is switched off; "
        "the platform's gone: it is not there now."
    )
    assert describe_dead_end(find_dispatch(situation([], unverified=unverified), mail)) == (
        "No account may be asked: the platform: the domain is not verified there."
    )
    assert describe_dead_end(find_dispatch(situation([route]), mail)) == ""
