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


def test_no_role_in_a_tenant_opens_other_tenants() -> None:
    allowed = [role for role in Role if Permission.TENANTS_OPEN in ROLE_PERMISSIONS[role]]
    assert allowed == []


@pytest.mark.parametrize("permission", [Permission.EMAILS_READ, Permission.INBOX_READ])
def test_billing_reads_no_mail(permission: Permission) -> None:
    assert permission not in permissions_of(Role.BILLING, is_operator=False)


def test_who_is_no_member_may_do_nothing() -> None:
    assert permissions_of(None, is_operator=False) == frozenset()


def test_operator_may_open_tenants_whatever_the_role() -> None:
    for role in [None, *Role]:
        assert Permission.TENANTS_OPEN in permissions_of(role, is_operator=True)
