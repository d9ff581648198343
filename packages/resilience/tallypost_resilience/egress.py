"""The one way out: HTTP to addresses that somebody else chose, without lending them our network.

A host is looked up once. Every answer must be allowed, and the connection goes to those answers
and to nothing else, under the original name in `Host` and TLS. Redirects are not followed, there
are no proxies and no cookies, and an answer ends at its limit of bytes and time.
"""

import asyncio
import errno
import io
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ssl import SSLContext
from types import SimpleNamespace
from typing import Final, TypeAlias

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct

from tallypost_core.clock import monotonic_s
from tallypost_core.errors import AppError
from tallypost_resilience.deadline import Deadline
from tallypost_resilience.egress_bodies import ByteBudget, read_body
from tallypost_resilience.egress_rules import (
    EgressFailed,
    EgressForbidden,
    EgressRedirected,
    EgressRules,
    EgressTimedOut,
    EgressTooLarge,
    EgressUnreachable,
)
from tallypost_telemetry import metrics

LookUp: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""Finds the IP addresses of a host name; raises OSError where there are none."""

_LOOK_UP_THREADS: Final = 8
_READ_BUFFER_BYTES: Final = 64 * 1024
_AT_ONCE_BYTES: Final = 1024 * 1024
_HEADERS: Final = {"accept-encoding": "gzip", "user-agent": "Tallypost"}
# Of each request, set by the client itself.
_RESERVED_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})

log = structlog.get_logger()


class EgressResponse(Struct, frozen=True):
    """An answer that arrived whole."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; the values of a repeated one are joined by `, `."""
    body: bytes


class Egress:
    """A client for one purpose, with its own rules and connections. Made inside a running loop."""

    def __init__(
        self,
        name: str,
        rules: EgressRules,
        *,
        tls: SSLContext | None = None,
        look_up: LookUp | None = None,
    ) -> None:
        """name, a fixed word, goes to the metric and the log.

        tls and look_up take the place of the system's certificates and resolver.
        """
        self._name = name
        self._rules = rules
        # Threads of its own: names that answer slowly must not hold up what else needs threads.
        self._threads = ThreadPoolExecutor(_LOOK_UP_THREADS, thread_name_prefix="egress")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_CheckedResolver(rules, look_up or self._look_up),
                use_dns_cache=False,
                socket_factory=lambda address: open_socket(rules, address),
                ssl=tls or True,
                limit=rules.connections,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The time of a request is counted here, with the look-up of its host.
            timeout=aiohttp.ClientTimeout(total=None),
            headers=_HEADERS,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER_BYTES,
            trust_env=False,
            trace_configs=[_trace_departures()],
        )

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        deadline: Deadline | None = None,
        leave_by: Deadline | None = None,
        budget: ByteBudget | None = None,
    ) -> EgressResponse:
        """Send one request and return the answer, of whatever status outside 300 to 399.

        deadline may shorten the time that the rules give. A request that has not begun to leave at
        leave_by never does, so that enough time is left to hear what becomes of it. budget bounds
        the answer's body, after decompression, in the place of the rules' max_answer_bytes; a
        failed answer has spent what arrived of it.
        Raises EgressForbidden and EgressUnreachable, before which nothing of the request has left,
        EgressRedirected, EgressTooLarge, EgressTimedOut, EgressFailed, and ValueError for headers
        that the client sets itself.
        """
        if headers and not _RESERVED_HEADERS.isdisjoint(name.lower() for name in headers):
            raise ValueError(f"these headers are not the caller's: {sorted(_RESERVED_HEADERS)}")
        limit = Deadline.after(self._rules.timeout_s)
        if deadline is not None:
            limit = deadline.earlier(self._rules.timeout_s)
        started_s = monotonic_s()
        departure = _Departure(limit)
        first_limit = limit if leave_by is None else limit.earlier(leave_by.remaining_s)
        try:
            async with asyncio.timeout(first_limit.remaining_s) as departure.scope:
                response = await self._send(
                    departure,
                    method,
                    url,
                    headers,
                    body,
                    budget or ByteBudget(self._rules.max_answer_bytes),
                )
        except AppError as error:
            failure, cause = error, ""
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            failure, cause = _describe(error, departure), type(error).__name__
        else:
            self._record(f"{response.status // 100}xx", started_s)
            return response
        self._record(failure.code, started_s)
        log.info("egress.failed", egress=self._name, error=failure.code, cause=cause)
        # Not raised from the cause, whose text quotes the URL.
        raise failure

    async def aclose(self) -> None:
        """Close all connections; requests under way fail."""
        await self._session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _send(
        self,
        departure: "_Departure",
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        budget: ByteBudget,
    ) -> EgressResponse:
        checked = self._rules.require_url(url)
        async with self._session.request(
            method,
            checked,
            headers=headers,
            data=_in_pieces(body),
            allow_redirects=False,
            trace_request_ctx=departure,
        ) as response:
            if 300 <= response.status < 400:
                raise EgressRedirected
            # The answer to HEAD tells a length and has none.
            if method != "HEAD" and (response.content_length or 0) > budget.left_bytes:
                raise EgressTooLarge
            told = _join(response.headers)
            received = await read_body(
                response.content.iter_any(), told.get("content-encoding", ""), budget
            )
            return EgressResponse(response.status, told, received)

    async def _look_up(self, host: str) -> Sequence[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]

    def _record(self, result: str, started_s: float) -> None:
        metrics.record_egress(self._name, result, monotonic_s() - started_s)


def _in_pieces(body: bytes | None) -> io.BytesIO | bytes | None:
    """A body as the client sends it; a large one at once would hold up the event loop."""
    return io.BytesIO(body) if body is not None and len(body) > _AT_ONCE_BYTES else body


def open_socket(rules: EgressRules, target: aiohttp.AddrInfoType) -> socket.socket:
    """A socket for one address, which is checked once more: whatever led to it, this is it.

    Raises PermissionError where a request may not go there.
    """
    family, kind, protocol, _, address = target
    try:
        rules.require_address(str(address[0]))
    except EgressForbidden as error:
        # The client tells connections that fail from errors of its own by OSError.
        raise PermissionError(errno.EACCES, "this address may not be fetched") from error
    return socket.socket(family, kind, protocol)


class _Departure:
    """Whether the first bytes of a request have left; from then on all of its time is its own."""

    def __init__(self, limit: Deadline) -> None:
        self.has_begun = False
        self.scope: asyncio.Timeout
        self._limit = limit

    def begin(self) -> None:
        """The request leaves now."""
        self.has_begun = True
        if not self.scope.expired():
            self.scope.reschedule(asyncio.get_running_loop().time() + self._limit.remaining_s)


def _describe(error: Exception, departure: _Departure) -> AppError:
    if not departure.has_begun:
        return EgressUnreachable()
    return EgressTimedOut() if isinstance(error, TimeoutError) else EgressFailed()


def _trace_departures() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    async def note(
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceRequestHeadersSentParams,
    ) -> None:
        context.trace_request_ctx.begin()

    trace.on_request_headers_sent.append(note)
    return trace


class _CheckedResolver(AbstractResolver):
    """Gives the client the addresses to connect to, or none at all where one is not allowed."""

    def __init__(self, rules: EgressRules, look_up: LookUp) -> None:
        self._rules = rules
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._look_up(host)
        if not addresses:
            raise OSError("the host has no address")
        for address in addresses:
            self._rules.require_address(address)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _join(headers: Mapping[str, str]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined
