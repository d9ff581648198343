"""What roles may do."""

import pytest

from tallypost_domain.people.permissions import (
    ROLE_PERMISSIONS,
    Permission,
    Role,
    permissions_of,
)


def test_every_role_has_its_permissions_listed() -> None:
    assert set(ROLE_PERMISSIONS) == set(Role)


OPERATORS_ONLY = {Permission.TENANTS_OPEN, Permission.PLATFORM_READ, Permission.PLATFORM_OPERATE}
READING = {
    Permission.EMAILS_READ,
    Permission.INBOX_READ,
    Permission.QUEUE_READ,
    Permission.API_KEYS_READ,
    Permission.ACCOUNTS_READ,
}


@pytest.mark.parametrize("permission", sorted(OPERATORS_ONLY))
def test_no_role_in_a_tenant_reaches_past_it(permission: Permission) -> None:
    assert [role for role in Role if permission in ROLE_PERMISSIONS[role]] == []


@pytest.mark.parametrize("permission", Permission)
def test_billing_reads_no_mail_and_has_no_keys(permission: Permission) -> None:
    assert permission not in permissions_of(Role.BILLING, is_operator=False)


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.DEVELOPER])
def test_who_builds_on_a_tenant_may_do_everything_in_it(role: Role) -> None:
    assert permissions_of(role, is_operator=False) == set(Permission) - OPERATORS_ONLY


def test_viewer_changes_nothing() -> None:
    assert permissions_of(Role.VIEWER, is_operator=False) == READING


def test_marketer_sends_and_has_neither_keys_nor_accounts_and_revives_nothing() -> None:
    allowed = permissions_of(Role.MARKETER, is_operator=False)
    assert Permission.EMAILS_SEND in allowed
    assert not allowed & {
        Permission.API_KEYS_READ,
        Permission.API_KEYS_WRITE,
        Permission.ACCOUNTS_READ,
        Permission.ACCOUNTS_WRITE,
        Permission.QUEUE_REQUEUE,
    }


def test_who_is_no_member_may_do_nothing() -> None:
    assert permissions_of(None, is_operator=False) == frozenset()


def test_operator_may_do_everything_whatever_the_role() -> None:
    for role in [None, *Role]:
        assert permissions_of(role, is_operator=True) == set(Permission)
