"""Health and metrics of an app, as a pure ASGI app.

`/health/live`   200 while the event loop turns; a supervisor restarts what fails it.
`/health/ready`  200 while every check passes and no shutdown has begun, else 503.
`/metrics`       Prometheus text.

It is served alone by the apps without routes, or mounted in a framework at these paths.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import structlog

from tallypost_core.clock import monotonic_s
from tallypost_telemetry import metrics
from tallypost_telemetry.asgi import Message, Receive, Scope, Send

Check = Callable[[], Awaitable[None]]
"""Returns where a dependency answers, raises where it does not."""

LIVE_PATH: Final = "/health/live"
READY_PATH: Final = "/health/ready"
METRICS_PATH: Final = "/metrics"

CHECK_TIMEOUT_S = 2.0

_JSON = "application/json"
_OK = "ok"

log = structlog.get_logger()


class Readiness(msgspec.Struct, frozen=True):
    """The body of `/health/ready`: `ready`, `not_ready` or `stopping`, and a word per check."""

    status: str
    checks: dict[str, str]


class OpsApp:
    """Answers the three paths with GET and HEAD; 404 elsewhere, 405 for other methods."""

    paths: Final = (LIVE_PATH, READY_PATH, METRICS_PATH)

    def __init__(self, checks: Mapping[str, Check], *, reuse_s: float = 1.0) -> None:
        """checks by the name that the answer shows.

        Results are shared by requests within reuse_s seconds, so that a flood of probes costs
        the dependencies one check.
        """
        self._checks = dict(checks)
        self._reuse_s = reuse_s
        self._is_stopping = False
        self._running: asyncio.Task[dict[str, str]] | None = None
        self._results: dict[str, str] = {}
        self._checked_at: float | None = None

    def begin_shutdown(self) -> None:
        """From now on answer that the app is not ready, while it finishes its work."""
        self._is_stopping = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve_http(scope, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _serve_http(self, scope: Scope, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        status, content_type, body = await self._answer(method, path)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    async def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if path not in self.paths:
            return 404, _JSON, b'{"error":"not_found"}'
        if method not in ("GET", "HEAD"):
            return 405, _JSON, b'{"error":"method_not_allowed"}'
        if path == LIVE_PATH:
            return 200, _JSON, b'{"status":"live"}'
        if path == METRICS_PATH:
            return 200, metrics.CONTENT_TYPE, metrics.render()
        readiness = await self.check_ready()
        status = 200 if readiness.status == "ready" else 503
        return status, _JSON, msgspec.json.encode(readiness)

    async def check_ready(self) -> Readiness:
        """Run all checks at once, or take results of less than reuse_s seconds ago."""
        results = {} if self._is_stopping else await self._shared_results()
        if self._is_stopping:
            return Readiness("stopping", results)
        passes = all(result == _OK for result in results.values())
        return Readiness("ready" if passes else "not_ready", results)

    async def _shared_results(self) -> dict[str, str]:
        if self._checked_at is not None and monotonic_s() - self._checked_at < self._reuse_s:
            return self._results
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run_checks())
        # Shielded: a client that hangs up must not cancel the checks that others wait for.
        return await asyncio.shield(self._running)

    async def _run_checks(self) -> dict[str, str]:
        outcomes = await asyncio.gather(*(_run_check(check) for check in self._checks.values()))
        results = dict(zip(self._checks, outcomes, strict=True))
        for name, result in results.items():
            if result != self._results.get(name, _OK):
                write = log.info if result == _OK else log.warning
                write("ready.changed", check=name, result=result)
        self._results, self._checked_at = results, monotonic_s()
        return results


async def _run_check(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return "timed out"
    except Exception as error:
        # This is an edge: whatever a check raises is an answer. Only the name of the class goes
        # out, because a message may quote an address with its login.
        return f"failed: {type(error).__name__}"
    return _OK


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
