"""The outermost layer: an id for each request, its log context, one metric, and safe headers.

It stands outside the framework, so that answers which no route gives have all of it too.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from tallypost_console.origins import Origins
from tallypost_core.clock import monotonic_s
from tallypost_core.ids import new_id
from tallypost_telemetry import metrics
from tallypost_telemetry.asgi import ASGIApp, Message, Receive, Scope, Send
from tallypost_telemetry.http_spans import RequestSpans
from tallypost_telemetry.ops import OpsApp

PREVIEW_STYLES: Final = "'unsafe-inline'"

_ID_KEY: Final = "tallypost_request_id"
_NONCE_KEY: Final = "tallypost_nonce"
_NO_ROUTE: Final = "unmatched"
_POLICY_HEADER: Final = b"content-security-policy"
_EVENT_STREAM: Final = (b"content-type", b"text/event-stream; charset=utf-8")

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    # With `no-referrer` browsers would send `Origin: null` with our own forms.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
    # What a signed-in person saw is not for whoever presses the back button later.
    (b"cache-control", b"no-store"),
)
_TRANSPORT_SECURITY: Final = (b"strict-transport-security", b"max-age=31536000")


def content_security_policy(scope: Mapping[str, object], *, more_styles: str = "") -> str:
    """What the page that answers this request may load: only what the console itself serves.

    A script needs the nonce of this one answer, and only htmx's policy may make HTML from text.
    """
    styles = f"'self' {more_styles}".strip()
    return (
        f"default-src 'none'; script-src 'nonce-{nonce(scope)}'; connect-src 'self'; "
        f"style-src {styles}; img-src 'self' data:; font-src 'self'; form-action 'self'; "
        "frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'; trusted-types htmx"
    )


class Edge:
    """An ASGI app around the routes, with health and metrics beside them."""

    def __init__(
        self, app: ASGIApp, ops: OpsApp, origins: Origins, on_shutdown: Callable[[], None]
    ) -> None:
        """on_shutdown ends what would otherwise go on for as long as somebody listens."""
        self._app = app
        self._ops = ops
        self._origins = origins
        self._on_shutdown = on_shutdown
        self._traced_pages = RequestSpans(self._serve_page)
        self._headers = (*_HEADERS, *([_TRANSPORT_SECURITY] if origins.is_secure else []))

    def begin_shutdown(self) -> None:
        """From now on answer that the app is not ready, while it finishes its work."""
        self._ops.begin_shutdown()
        self._on_shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in self._ops.paths:
            # Probes ask by address, so the host is not checked.
            await self._ops(scope, receive, send)
        else:
            await self._traced_pages(scope, receive, send)

    async def _serve_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        id_ = str(new_id())
        scope[_ID_KEY] = id_
        scope[_NONCE_KEY] = secrets.token_urlsafe(16)
        status = 500
        is_stream = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                given = message.get("headers", ())
                is_stream = _EVENT_STREAM in given
                message["headers"] = self._complete(scope, given)
            await send(message)

        started_s = monotonic_s()
        structlog.contextvars.bind_contextvars(request_id=id_)
        try:
            if self._origins.has_host(_find_host(scope)):
                await self._app(scope, receive, send_with_headers)
            else:
                await self._refuse_host(send_with_headers)
        finally:
            structlog.contextvars.clear_contextvars()
            route = scope.get("path_template", _NO_ROUTE)
            # How long a stream lasts says when its reader left, not how quick we are.
            took_s = 0.0 if is_stream else monotonic_s() - started_s
            metrics.record_http_request(scope["method"], route, status, took_s)

    def _complete(
        self, scope: Scope, given: list[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        names = {name for name, _ in given}
        added = [header for header in self._headers if header[0] not in names]
        if _POLICY_HEADER not in names:
            added.append((_POLICY_HEADER, content_security_policy(scope).encode()))
        return [*given, *added, (b"x-request-id", request_id(scope).encode())]

    async def _refuse_host(self, send: Send) -> None:
        body = f"The console does not answer to this host name. It is at {self._origins.url}\n"
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})


def request_id(scope: Mapping[str, object]) -> str:
    """The id of a request, as it stands in its answer's header and in the log."""
    return str(scope[_ID_KEY])


def nonce(scope: Mapping[str, object]) -> str:
    """What the scripts of the answer to this request carry; another one in each answer."""
    return str(scope[_NONCE_KEY])


def _find_host(scope: Scope) -> str:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return hosts[0].decode("latin-1") if len(hosts) == 1 else ""
