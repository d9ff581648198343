"""Which accounts an email may go to, and in which order."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_core.ids import new_id
from tallypost_providers.router import Mail, Route, candidates, pick
from tallypost_providers.types import Capabilities, OutgoingEmail, SendResult

DOMAIN, OTHER_DOMAIN = new_id(), new_id()
PLATFORM = ("ses", "smtp")


class Account:
    """An account that is never asked."""

    name = "fake"
    rate_per_s: float | None = None

    def __init__(self, account: str, *, is_outside: bool = True, is_exact: bool = True) -> None:
        self.account = account
        self.capabilities = Capabilities(
            raw_mime=True,
            keeps_message_id=True,
            keeps_envelope=is_exact,
            signs_dkim=False,
            idempotent=False,
            lookup=False,
            events=False,
            reaches_outside=is_outside,
        )

    def find_obstacle(self, _email: OutgoingEmail) -> str | None:
        """It would take anything."""
        return None

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Nobody calls it."""
        raise AssertionError

    async def close(self) -> None:
        """Nothing to give back."""


def make_mail(**fields: Any) -> Mail:
    """Live transactional mail of one domain, unless told otherwise."""
    usual: dict[str, Any] = {
        "email_id": new_id(),
        "mode": "live",
        "domain_id": DOMAIN,
        "lane": "transactional",
        "tags": {},
    }
    return Mail(**(usual | fields))


def make_route(*accounts: str, **fields: Any) -> Route:
    return Route(id=new_id(), accounts=accounts, **fields)


def ways(
    mail: Mail,
    named: Sequence[str] = ("first", "second"),
    *,
    fleet: Sequence[Account] = (),
    **options: Any,
) -> list[str]:
    known = fleet or (Account("first"), Account("second"), Account("inbox", is_outside=False))
    found = candidates(named, {account.account: account for account in known}, mail, **options)
    return [account.account for account in found]


@pytest.mark.parametrize(
    ("route", "mail", "goes_by_it"),
    [
        ({}, {}, True),
        ({"domain_id": DOMAIN}, {}, True),
        ({"domain_id": OTHER_DOMAIN}, {}, False),
        ({"lane": "transactional"}, {}, True),
        ({"lane": "bulk"}, {}, False),
        ({"lane": "bulk"}, {"lane": "bulk"}, True),
        ({"tag_name": "kind"}, {}, False),
        ({"tag_name": "kind"}, {"tags": {"kind": ""}}, True),
        ({"tag_name": "kind", "tag_value": "news"}, {"tags": {"kind": "news"}}, True),
        ({"tag_name": "kind", "tag_value": "news"}, {"tags": {"kind": "receipt"}}, False),
        ({"tag_name": "kind", "tag_value": "news"}, {"tags": {"other": "news"}}, False),
        ({"domain_id": DOMAIN, "lane": "bulk"}, {}, False),
        ({"domain_id": DOMAIN, "lane": "bulk"}, {"lane": "bulk"}, True),
        ({"share": 0.0}, {}, False),
    ],
)
def test_route_takes_the_mail_that_it_names(
    route: dict[str, Any], mail: dict[str, Any], goes_by_it: bool
) -> None:
    chosen = pick([make_route("own", **route)], make_mail(**mail), PLATFORM)
    assert chosen == (("own",) if goes_by_it else PLATFORM)


def test_first_route_that_fits_is_taken() -> None:
    routes = [make_route("bulk", lane="bulk"), make_route("domain"), make_route("late")]
    assert pick(routes, make_mail(), PLATFORM) == ("domain",)
    assert pick(routes, make_mail(lane="bulk"), PLATFORM) == ("bulk",)


def test_without_a_route_mail_goes_to_the_platform() -> None:
    assert pick([], make_mail(), PLATFORM) == PLATFORM


def test_share_of_the_mail_goes_by_a_route_and_the_rest_on() -> None:
    routes = [make_route("tenth", share=0.1), make_route("half", share=0.5)]
    counts = Counter(pick(routes, make_mail(), PLATFORM) for _ in range(20_000))
    # Four standard deviations of a binomial each.
    assert abs(counts[("tenth",)] - 2_000) < 170
    assert abs(counts[("half",)] - 9_000) < 282
    assert abs(counts[PLATFORM] - 9_000) < 282


@given(st.uuids(), st.floats(0, 1), st.floats(0, 1))
def test_lot_of_an_email_never_changes_and_a_larger_share_keeps_it(
    email_id: UUID, share: float, other: float
) -> None:
    smaller, larger = sorted((share, other))
    route_id, mail = new_id(), make_mail(email_id=email_id)
    small = Route(id=route_id, accounts=("own",), share=smaller)
    large = Route(id=route_id, accounts=("own",), share=larger)
    chosen = pick([small], mail, PLATFORM)
    assert chosen == pick([small], mail, PLATFORM)
    if chosen == ("own",):
        assert pick([large], mail, PLATFORM) == ("own",)


def test_live_mail_takes_the_accounts_of_its_route_in_their_order() -> None:
    assert ways(make_mail()) == ["first", "second"]
    assert ways(make_mail(), ("second", "first")) == ["second", "first"]
    assert ways(make_mail(), ("second",)) == ["second"]


def test_test_mail_takes_the_inbox_whatever_its_route_says() -> None:
    assert ways(make_mail(mode="test")) == ["inbox"]


def test_test_mail_never_leaves_even_where_nothing_else_is_left() -> None:
    assert ways(make_mail(mode="test"), fleet=[Account("first"), Account("second")]) == []


def test_live_mail_never_ends_in_the_inbox() -> None:
    assert ways(make_mail(), ("inbox", "second")) == ["second"]


def test_account_that_is_not_there_is_passed_over() -> None:
    assert ways(make_mail(), ("gone", "second")) == ["second"]
    assert ways(make_mail(), ("gone",)) == []


def test_account_named_twice_is_asked_once() -> None:
    assert ways(make_mail(), ("first", "second", "first")) == ["first", "second"]


def test_mail_for_some_of_its_recipients_goes_only_where_the_envelope_is_kept() -> None:
    fleet = [Account("first", is_exact=False), Account("second")]
    assert ways(make_mail(), fleet=fleet) == ["first", "second"]
    assert ways(make_mail(is_partial=True), fleet=fleet) == ["second"]


def test_account_that_refused_it_is_asked_last() -> None:
    assert ways(make_mail(), refused_by={"first"}) == ["second", "first"]
    assert ways(make_mail(), refused_by={"first", "second"}) == ["first", "second"]


def test_account_where_the_domain_is_not_verified_is_left_out() -> None:
    unverified = {("first", DOMAIN), ("second", OTHER_DOMAIN)}
    assert ways(make_mail(), unverified=unverified) == ["second"]
    assert ways(make_mail(domain_id=OTHER_DOMAIN), unverified=unverified) == ["first"]
    assert ways(make_mail(mode="test"), unverified=unverified) == ["inbox"]


def test_share_of_the_mail_keeps_the_second_account_warm() -> None:
    counts = Counter(ways(make_mail(), warm_share=0.05)[0] for _ in range(20_000))
    assert abs(counts["second"] - 1_000) < 124


def test_lone_account_is_not_swapped_for_warmth() -> None:
    assert ways(make_mail(), ("first",), warm_share=1.0) == ["first"]
