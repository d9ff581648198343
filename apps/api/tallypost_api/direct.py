"""Calls the handlers of busy routes without what the framework does around them.

A third of the time of sending an email went into routing, parameters and responses that these
routes do not need (measured). They stand among the others, are described and authorised like them,
and answer the same.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send
from msgspec import Struct

from tallypost_api.access import Access
from tallypost_api.json_response import send_json
from tallypost_api.permissions import OPT_KEY, Permission
from tallypost_api.rendering import render_error

DIRECT_KEY: Final = "direct"
"""Marks, in its `opt`, a handler that takes a request and nothing else, and answers with 200."""

# Any: Litestar leaves users and their tokens open.
AnyRequest = Request[Any, Any, Any]


class _Direct(Struct, frozen=True):
    handle: Callable[[AnyRequest], Awaitable[object]]
    permission: Permission
    path_template: str


class DirectRoutes:
    """An ASGI app around the routes, which takes requests to marked handlers itself."""

    def __init__(self, routes: Litestar, access: Access) -> None:
        self._routes = routes
        self._access = access
        self._direct = {
            (method, route.path): _Direct(handler.fn, handler.opt[OPT_KEY], route.path_format)
            for route in routes.routes
            # Any: Litestar's routes have no common type with handlers.
            for handler in getattr(cast(Any, route), "route_handlers", ())
            if handler.opt.get(DIRECT_KEY)
            for method in handler.http_methods
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        direct = None
        if scope["type"] == ScopeType.HTTP:
            direct = self._direct.get((scope["method"], scope["path"]))
        if direct is None:
            await self._routes(scope, receive, send)
            return
        # As the framework notes it, for the metric.
        scope["path_template"] = direct.path_template
        request: AnyRequest = Request(scope, receive)
        try:
            await self._access.admit(scope, direct.permission)
            content = await direct.handle(request)
        except Exception as error:
            # The edge of the app, as for every other route.
            answer = render_error(request, error).to_asgi_response(app=None, request=request)
            await answer(scope, receive, send)
        else:
            await send_json(send, content)
