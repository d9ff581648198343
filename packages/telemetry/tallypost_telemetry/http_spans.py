"""A span for each sampled HTTP request, around an app that knows nothing of it.

The names are OpenTelemetry's for HTTP servers. Left out are the path and the query, which may hold
whatever a client writes there, and the client's address.
"""

from collections.abc import Collection
from typing import Final

from tallypost_telemetry import conventions as names
from tallypost_telemetry import tracing
from tallypost_telemetry.asgi import ASGIApp, Message, Receive, Scope, Send
from tallypost_telemetry.metrics import KNOWN_METHODS
from tallypost_telemetry.trace_contexts import Caller, read_traceparent

REQUEST_ID_HEADER: Final = b"x-request-id"

_TRACEPARENT: Final = b"traceparent"
# As the conventions have it for methods that are not known.
_OTHER_METHOD: Final = "_OTHER"


class RequestSpans:
    """An ASGI app around another, outside everything that writes answers.

    The inner app names the route by `path_template` in the scope, and the request by the header
    `x-request-id` of its answer.
    """

    def __init__(self, app: ASGIApp, *, without: Collection[str] = ()) -> None:
        """Requests for the paths in `without` are never traced: probes would drown the others."""
        self._app = app
        self._without = frozenset(without)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        span = self._begin(scope)
        if not span:
            await self._app(scope, receive, send)
            return
        with span:
            await self._serve(span, scope, receive, send)

    def _begin(self, scope: Scope) -> tracing.Span:
        if not tracing.is_on() or scope["type"] != "http" or scope["path"] in self._without:
            return tracing.NO_SPAN
        method = _method(scope)
        return tracing.begin(
            _find_caller(scope),
            _name(method, None),
            tracing.Kind.SERVER,
            {
                names.HTTP_REQUEST_METHOD: method,
                names.URL_SCHEME: scope.get("scheme", "http"),
                names.NETWORK_PROTOCOL_VERSION: scope.get("http_version", "1.1"),
            },
        )

    async def _serve(self, span: tracing.Span, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                _note_answer(span, message)
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = scope.get("path_template")
            if route is not None:
                span.note({names.HTTP_ROUTE: route})
                span.rename(_name(_method(scope), route))


def _find_caller(scope: Scope) -> Caller | None:
    headers = [value for name, value in scope["headers"] if name == _TRACEPARENT]
    return read_traceparent(headers[0]) if len(headers) == 1 else None


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in KNOWN_METHODS else _OTHER_METHOD


def _name(method: str, route: str | None) -> str:
    known = "HTTP" if method == _OTHER_METHOD else method
    return known if route is None else f"{known} {route}"


def _note_answer(span: tracing.Span, message: Message) -> None:
    status = message["status"]
    span.note({names.HTTP_RESPONSE_STATUS_CODE: status})
    for name, value in message.get("headers", ()):
        if name == REQUEST_ID_HEADER:
            span.note({names.REQUEST_ID: value.decode("latin-1")})
    if status >= 500:
        span.fail(str(status))
