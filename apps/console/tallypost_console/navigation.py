"""The pages that the rail lists, and who sees which."""

from typing import Final

from msgspec import Struct

from tallypost_console.addresses import address_of
from tallypost_console.visitors import Visitor
from tallypost_domain.people.permissions import Permission


class Entry(Struct, frozen=True):
    """A page in the rail."""

    path: str
    icon: str
    label: str
    key: str
    """Opens it after `g`."""
    permission: Permission
    in_tenant: bool = True
    """False for pages about the whole installation."""
    keeps_mode: bool = False
    """Its links stay in test mode where the page before was."""
    in_demo: bool = False
    beside: tuple[str, ...] = ()
    """Pages elsewhere that belong to it."""

    def address(self, mode: str | None) -> str:
        """Where it leads from a page of this mode."""
        return address_of(self.path, mode=mode if self.keeps_mode else None)

    def is_current(self, path: str) -> bool:
        """True for the page itself, those beside it, and those below one of them."""
        return any(path == own or path.startswith(f"{own}/") for own in (self.path, *self.beside))


_ENTRIES: Final = (
    Entry("/", "house", "Home", "h", Permission.EMAILS_READ, keeps_mode=True),
    Entry("/emails", "mail", "Emails", "e", Permission.EMAILS_READ, keeps_mode=True),
    Entry("/inbox", "inbox", "Inbox", "i", Permission.INBOX_READ, keeps_mode=True),
    Entry("/queue", "list-checks", "Queue", "q", Permission.QUEUE_READ, keeps_mode=True),
    Entry("/api-keys", "key-round", "API keys", "k", Permission.API_KEYS_READ),
    Entry(
        "/providers", "waypoints", "Providers", "p", Permission.ACCOUNTS_READ, beside=("/routes",)
    ),
    Entry("/overview", "activity", "Overview", "o", Permission.PLATFORM_READ, in_tenant=False),
    Entry("/tenants", "users", "Tenants", "t", Permission.TENANTS_OPEN, in_tenant=False),
    Entry(
        "/demo",
        "flask-conical",
        "Demo",
        "d",
        Permission.PLATFORM_OPERATE,
        in_tenant=False,
        in_demo=True,
    ),
)


def list_entries(visitor: Visitor, *, is_demo: bool) -> list[Entry]:
    """What the rail shows to a visitor, top to bottom."""
    has_tenant = visitor.person.tenant_id is not None
    return [
        entry
        for entry in _ENTRIES
        if entry.permission in visitor.person.permissions
        and (has_tenant or not entry.in_tenant)
        and (is_demo or not entry.in_demo)
    ]
