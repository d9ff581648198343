"""What each role may do. Deny by default: what is not listed is not allowed."""

import enum
from collections.abc import Mapping


class Role(enum.StrEnum):
    """What a person is in a tenant."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    MARKETER = "marketer"
    BILLING = "billing"
    VIEWER = "viewer"


class Permission(enum.StrEnum):
    """One thing that a person may be allowed to do; named noun.verb."""

    EMAILS_READ = "emails.read"
    INBOX_READ = "inbox.read"
    TENANTS_OPEN = "tenants.open"
    """See the list of all tenants and enter one of them; operators only."""


_READ_MAIL = frozenset({Permission.EMAILS_READ, Permission.INBOX_READ})

ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.OWNER: _READ_MAIL,
    Role.ADMIN: _READ_MAIL,
    Role.DEVELOPER: _READ_MAIL,
    Role.MARKETER: _READ_MAIL,
    # Whoever pays the invoices has no business in other people's mail.
    Role.BILLING: frozenset(),
    Role.VIEWER: _READ_MAIL,
}

OPERATOR_PERMISSIONS: frozenset[Permission] = _READ_MAIL | {Permission.TENANTS_OPEN}
"""What an operator may do, in whichever tenant is open."""


def permissions_of(role: Role | None, *, is_operator: bool) -> frozenset[Permission]:
    """All permissions of somebody with this role in the open tenant; None means no member."""
    own = ROLE_PERMISSIONS[role] if role is not None else frozenset()
    return own | OPERATOR_PERMISSIONS if is_operator else own
