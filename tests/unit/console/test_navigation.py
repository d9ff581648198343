"""Who sees which pages in the rail."""

import pytest

from tallypost_console.icons import icon
from tallypost_console.navigation import Entry, list_entries
from tallypost_console.visitors import Visitor
from tallypost_core.ids import new_id
from tallypost_domain.people.permissions import Permission, Role
from tallypost_domain.people.types import SignedInPerson

MAIL = ["Home", "Emails", "Inbox", "Queue"]
BUILDING = ["API keys", "Providers"]
PLATFORM = ["Overview", "Tenants"]


def visitor(
    role: Role | None = None, *, is_operator: bool = False, has_tenant: bool = True
) -> Visitor:
    tenant_id = new_id() if has_tenant else None
    person = SignedInPerson(new_id(), "Ada", "ada@example.com", is_operator, tenant_id, role)
    return Visitor(person, "token")


def labels(of: Visitor, *, is_demo: bool = False) -> list[str]:
    return [entry.label for entry in list_entries(of, is_demo=is_demo)]


def entry(label: str) -> Entry:
    operator = visitor(Role.OWNER, is_operator=True)
    return next(each for each in list_entries(operator, is_demo=True) if each.label == label)


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.DEVELOPER, Role.VIEWER])
def test_those_who_build_or_watch_see_mail_and_what_it_goes_by(role: Role) -> None:
    assert labels(visitor(role)) == [*MAIL, *BUILDING]


def test_marketer_sees_mail_and_nothing_that_it_goes_by() -> None:
    assert labels(visitor(Role.MARKETER)) == MAIL


def test_whoever_pays_sees_nobodys_mail() -> None:
    assert labels(visitor(Role.BILLING)) == []


def test_operator_sees_everything_in_the_tenant_that_is_open() -> None:
    assert labels(visitor(is_operator=True)) == [*MAIL, *BUILDING, *PLATFORM]


def test_operator_without_a_tenant_sees_the_installation_only() -> None:
    assert labels(visitor(is_operator=True, has_tenant=False)) == PLATFORM


def test_person_without_a_tenant_sees_nothing() -> None:
    assert labels(visitor(has_tenant=False)) == []


@pytest.mark.parametrize("role", Role)
def test_nobody_but_operators_sees_the_installation(role: Role) -> None:
    shown = labels(visitor(role), is_demo=True)
    assert not {*PLATFORM, "Demo"} & {*shown}


def test_demo_is_shown_to_operators_where_one_runs() -> None:
    operator = visitor(is_operator=True)
    assert "Demo" in labels(operator, is_demo=True)
    assert "Demo" not in labels(operator, is_demo=False)


@pytest.mark.parametrize("role", [*Role, None])
@pytest.mark.parametrize("is_operator", [False, True])
def test_nobody_is_shown_what_they_may_not_open(role: Role | None, is_operator: bool) -> None:
    of = visitor(role, is_operator=is_operator)
    assert all(of.may(each.permission) for each in list_entries(of, is_demo=True))


def test_every_page_has_an_icon_and_a_key_of_its_own() -> None:
    everything = list_entries(visitor(Role.OWNER, is_operator=True), is_demo=True)
    assert len({each.key for each in everything}) == len(everything)
    assert all(icon(each.icon) for each in everything)


@pytest.mark.parametrize(
    ("label", "path", "is_current"),
    [
        ("Emails", "/emails", True),
        ("Emails", "/emails/018f", True),
        ("Emails", "/emails-of-others", False),
        ("Emails", "/", False),
        ("Home", "/", True),
        ("Home", "/emails", False),
        ("Providers", "/providers/new/smtp", True),
        ("Providers", "/routes", True),
        ("Providers", "/routes/018f", True),
        ("Providers", "/routes-of-others", False),
    ],
)
def test_page_is_current_with_those_below_it(label: str, path: str, is_current: bool) -> None:
    assert entry(label).is_current(path) is is_current


def test_pages_of_a_mode_keep_it() -> None:
    keeping = {each for each in (*MAIL, *BUILDING, *PLATFORM) if entry(each).keeps_mode}
    assert keeping == {*MAIL}


def test_visitor_may_what_their_role_may() -> None:
    assert visitor(Role.VIEWER).may(Permission.EMAILS_READ)
    assert not visitor(Role.VIEWER).may(Permission.EMAILS_SEND)
