"""Puts the public API together."""

from collections.abc import Sequence
from typing import Any, Final

from litestar import Litestar, MediaType, Request, Response, asgi, get
from litestar.di import Provide
from litestar.handlers import ASGIRouteHandler
from litestar.types import ControllerRouterHandler, Receive, Scope, Send
from msgspec import Struct

from tallypost_api.access import Access
from tallypost_api.caller import Caller
from tallypost_api.controllers import CONTROLLERS
from tallypost_api.direct import DirectRoutes
from tallypost_api.edge import Edge
from tallypost_api.json_response import JSONResponse
from tallypost_api.own.reading import require_known_query
from tallypost_api.permissions import OPT_KEY, Permission, require_declared
from tallypost_api.problems import ERRORS_PATH
from tallypost_api.rendering import render_error
from tallypost_api.request_context import get_caller
from tallypost_api.services import Services
from tallypost_core.settings.apps import APISettings
from tallypost_telemetry import asgi as asgi_types
from tallypost_telemetry.http_spans import RequestSpans
from tallypost_telemetry.ops import OpsApp

OPENAPI_PATH: Final = "/openapi.json"

_PUBLIC = {OPT_KEY: Permission.PUBLIC}


class Index(Struct, frozen=True):
    """What the root of the API says."""

    name: str = "Tallypost API"
    documentation: str = OPENAPI_PATH


class API:
    """The API as an ASGI app, with the parts that its process needs by name."""

    def __init__(self, routes: Litestar, access: Access, ops: OpsApp) -> None:
        self.routes = routes
        self.ops = ops
        # Litestar types scopes more narrowly.
        edge = Edge(DirectRoutes(routes, access))  # type: ignore[arg-type]
        self._traced_edge = RequestSpans(edge, without=ops.paths)

    async def __call__(
        self, scope: asgi_types.Scope, receive: asgi_types.Receive, send: asgi_types.Send
    ) -> None:
        """Serve one ASGI connection."""
        await self._traced_edge(scope, receive, send)


def create_app(settings: APISettings) -> API:
    """Build the API; nothing connects before its lifespan begins.

    Raises KeyRingError or ValueError where settings cannot be used, and UndeclaredPermission for
    a route that does not say what it demands of a key.
    """
    services = Services(settings)
    ops = OpsApp(services.readiness_checks())
    access = Access(services, settings.accept.rate_limit_per_s)
    routes = build_routes([*CONTROLLERS, index, openapi, errors, _mount(ops)], services, access)
    return API(routes, access, ops)


def build_routes(
    handlers: Sequence[ControllerRouterHandler], services: Services, access: Access
) -> Litestar:
    """The handlers behind authentication, limits and our errors.

    Raises UndeclaredPermission for one that does not say what it demands.
    """
    routes = Litestar(
        handlers,
        middleware=[access],
        guards=[require_known_query],
        dependencies={"caller": Provide(_provide_caller, sync_to_thread=False)},
        exception_handlers={Exception: render_error},
        response_class=JSONResponse,
        lifespan=[services.lifespan],
        # The bound, and the error, are ours: `bodies`.
        request_max_body_size=None,
        # Its pages load scripts from elsewhere and answer 404 in HTML; `openapi` serves the JSON.
        openapi_config=None,
        logging_config=None,
    )
    require_declared(routes)
    return routes


@get("/", opt=_PUBLIC, include_in_schema=False, sync_to_thread=False)
def index() -> Index:
    """Say what this is."""
    return Index()


@get(OPENAPI_PATH, opt=_PUBLIC, include_in_schema=False, sync_to_thread=False)
def openapi() -> Response[bytes]:
    """Describe the API as OpenAPI 3.1."""
    # Imported on demand: the description costs start-up time that most processes never use.
    from tallypost_api.openapi import render

    return Response(render(), media_type=MediaType.JSON)


@get(ERRORS_PATH, opt=_PUBLIC, include_in_schema=False, sync_to_thread=False)
def errors() -> Response[str]:
    """Show the page about errors, which the types of problems lead to."""
    from tallypost_api.error_docs import render

    return Response(render(), media_type="text/markdown")


def _provide_caller(request: Request[Any, Any, Any]) -> Caller:
    return get_caller(request.scope)


def _mount(ops: OpsApp) -> ASGIRouteHandler:
    @asgi(list(ops.paths), opt=_PUBLIC, copy_scope=True)
    async def health_and_metrics(scope: Scope, receive: Receive, send: Send) -> None:
        await ops(scope, receive, send)  # type: ignore[arg-type]  # As above.

    return health_and_metrics
