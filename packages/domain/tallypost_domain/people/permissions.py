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
    EMAILS_SEND = "emails.send"
    """Send the content of an email again, as a new email."""
    QUEUE_READ = "queue.read"
    QUEUE_REQUEUE = "queue.requeue"
    """Decide that a dead letter, or parked mail, is sent again, or say whether an email arrived."""
    API_KEYS_READ = "api_keys.read"
    API_KEYS_WRITE = "api_keys.write"
    ACCOUNTS_READ = "accounts.read"
    """See the tenant's own provider accounts, and by which routes its mail goes."""
    ACCOUNTS_WRITE = "accounts.write"
    TENANTS_OPEN = "tenants.open"
    """See the list of all tenants and enter one of them; operators only."""
    PLATFORM_READ = "platform.read"
    """See numbers of the whole platform; operators only."""
    PLATFORM_OPERATE = "platform.operate"
    """Change how the whole platform runs; operators only."""


_READ_MAIL = frozenset({Permission.EMAILS_READ, Permission.INBOX_READ, Permission.QUEUE_READ})
_VIEW = _READ_MAIL | {Permission.API_KEYS_READ, Permission.ACCOUNTS_READ}
_SEND = _READ_MAIL | {Permission.EMAILS_SEND}
_BUILD = (
    _VIEW | _SEND | {Permission.QUEUE_REQUEUE, Permission.API_KEYS_WRITE, Permission.ACCOUNTS_WRITE}
)

ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.OWNER: _BUILD,
    Role.ADMIN: _BUILD,
    Role.DEVELOPER: _BUILD,
    Role.MARKETER: _SEND,
    # Whoever pays the invoices has no business in other people's mail.
    Role.BILLING: frozenset(),
    Role.VIEWER: _VIEW,
}

OPERATOR_PERMISSIONS: frozenset[Permission] = frozenset(Permission)
"""What an operator may do, in whichever tenant is open; that tenant's audit log tells of it."""


def permissions_of(role: Role | None, *, is_operator: bool) -> frozenset[Permission]:
    """All permissions of somebody with this role in the open tenant; None means no member."""
    own = ROLE_PERMISSIONS[role] if role is not None else frozenset()
    return own | OPERATOR_PERMISSIONS if is_operator else own
