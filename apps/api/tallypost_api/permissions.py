"""What a route demands of a key, and what a key's permission gives.

Every route names its permission in `opt`, so that a forgotten check is a failed start and not an
open door.
"""

import enum
from collections.abc import Mapping
from typing import Any, Final

from litestar import Litestar

from tallypost_domain.api_keys.types import KeyPermission

OPT_KEY: Final = "permission"


class Permission(enum.StrEnum):
    """What a route demands."""

    PUBLIC = "public"
    """Anybody may call it, without a key."""
    EMAILS_SEND = "emails:send"
    EMAILS_READ = "emails:read"
    EMAILS_CHANGE = "emails:change"
    """Move or cancel what is scheduled."""
    UNCONFIRMED_DECIDE = "unconfirmed:decide"
    """Send again, or settle, what may have arrived."""
    ROUTING_READ = "routing:read"
    """See provider accounts and routes."""
    ROUTING_CHANGE = "routing:change"
    """Change them: live mail goes by what they say."""


GRANTS: Final[Mapping[KeyPermission, frozenset[Permission]]] = {
    # As the original has it: such a key may not even look at what it sent.
    "sending_access": frozenset({Permission.EMAILS_SEND}),
    "full_access": frozenset(Permission),
}


class UndeclaredPermission(Exception):
    """A route does not say what it demands."""


def require_declared(app: Litestar) -> None:
    """Raise UndeclaredPermission, naming the routes, unless each one declares its permission."""
    missing = [
        f"{route.path} {handler}"
        for route in app.routes
        for handler in _handlers(route)
        if not isinstance(handler.opt.get(OPT_KEY), Permission)
    ]
    if missing:
        raise UndeclaredPermission(
            f"give these routes opt={{{OPT_KEY!r}: Permission....}}: {', '.join(missing)}"
        )


# Any: Litestar has no common type for the three kinds of routes that has their handlers.
def _handlers(route: Any) -> list[Any]:
    handlers = getattr(route, "route_handlers", None) or [route.route_handler]
    # Litestar adds OPTIONS to every route by itself; `Access` refuses it.
    return [h for h in handlers if getattr(h, "http_methods", None) != {"OPTIONS"}]
