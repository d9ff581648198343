"""The outermost layer: an id for each request, its log context, and one metric.

It stands outside the framework so that also answers which no route gives have all of it.
"""

from typing import Final

import structlog

from tallypost_api.request_context import BodyBudget, RequestContext, attach
from tallypost_core.clock import monotonic_s
from tallypost_core.ids import new_id
from tallypost_telemetry import metrics
from tallypost_telemetry.asgi import ASGIApp, Message, Receive, Scope, Send

MAX_HELD_BODY_BYTES: Final = 256_000_000

_NO_ROUTE = "unmatched"


class Edge:
    """An ASGI app around the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._budget = BodyBudget(MAX_HELD_BODY_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(str(new_id()), self._budget)
        attach(scope, context)
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *context.headers]
            await send(message)

        started_s = monotonic_s()
        structlog.contextvars.bind_contextvars(request_id=context.id)
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            structlog.contextvars.clear_contextvars()
            context.release()
            route = scope.get("path_template", _NO_ROUTE)
            metrics.record_http_request(scope["method"], route, status, monotonic_s() - started_s)
