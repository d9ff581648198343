"""Who may see a page: every route declares it, and one guard checks it.

The guard runs before anything else of a route does, and a route that declares nothing fails the
start: a forgotten check is no open door.
"""

import enum
from typing import Any, Final

import structlog
from litestar import Litestar, Request
from litestar.handlers import BaseRouteHandler

from tallypost_console.errors import ForeignForm, NotSignedIn, TenantChanged
from tallypost_console.forms import TENANT_FIELD, TOKEN_FIELD, Form, is_form_token, read_form
from tallypost_console.services import Services
from tallypost_console.visitors import AnyConnection, Visitor, find_visitor
from tallypost_domain.people.errors import PermissionDenied
from tallypost_domain.people.permissions import Permission

OPT_KEY: Final = "permission"

_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Everyone(enum.StrEnum):
    """What a route declares that asks for no permission."""

    PUBLIC = "public"
    """Anybody may see it."""
    SIGNED_IN = "signed_in"
    """Whoever is signed in may see it, whatever the role."""


# All other pages name the tenant that they show in what they ask for afterwards: a person may have
# opened another one since, in another window.
_OF_NO_TENANT = frozenset({Everyone.SIGNED_IN, Permission.TENANTS_OPEN})


class UndeclaredPermission(Exception):
    """A route does not say who may see it."""


async def guard_route(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """Let a request pass that its route allows.

    Raises ForeignForm, NotSignedIn, TenantChanged, PermissionDenied.
    """
    if _is_options(handler):
        return
    services: Services = connection.app.state["services"]
    changes_something = not (isinstance(connection, Request) and connection.method in _SAFE_METHODS)
    if changes_something and not services.origins.is_own_form(connection.headers):
        raise ForeignForm
    permission = handler.opt[OPT_KEY]
    if permission is Everyone.PUBLIC:
        return
    visitor = await find_visitor(connection)
    if visitor is None:
        raise NotSignedIn
    structlog.contextvars.bind_contextvars(person_id=str(visitor.person.id))
    named = connection.query_params.get(TENANT_FIELD, "")
    if changes_something:
        named = (await _require_own_form(connection, visitor)).find(TENANT_FIELD)
    if permission not in _OF_NO_TENANT and named not in ("", str(visitor.person.tenant_id)):
        raise TenantChanged
    if permission is not Everyone.SIGNED_IN and permission not in visitor.person.permissions:
        raise PermissionDenied


def require_declared(app: Litestar) -> None:
    """Raise UndeclaredPermission, naming the routes, unless each one says who may see it."""
    missing = [
        f"{route.path} {handler}"
        for route in app.routes
        for handler in _handlers(route)
        if not isinstance(handler.opt.get(OPT_KEY), Permission | Everyone)
    ]
    if missing:
        raise UndeclaredPermission(f"no {OPT_KEY!r} in opt of: {', '.join(missing)}")


async def _require_own_form(connection: AnyConnection, visitor: Visitor) -> Form:
    if not isinstance(connection, Request):
        raise ForeignForm
    form = await read_form(connection)
    if not is_form_token(form.find(TOKEN_FIELD), visitor.token):
        raise ForeignForm
    return form


# Any: Litestar's three kinds of routes have no common type that has their handlers.
def _handlers(route: Any) -> list[BaseRouteHandler]:
    handlers = getattr(route, "route_handlers", None) or [route.route_handler]
    return [handler for handler in handlers if not _is_options(handler)]


def _is_options(handler: BaseRouteHandler) -> bool:
    # Litestar adds one to every route by itself; it answers with the allowed methods only.
    return getattr(handler, "http_methods", None) == {"OPTIONS"}
