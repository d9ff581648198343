"""The HTTP side of the AWS SDK, made so that one knows whether a request has left.

The SDK lets a client bring its own (`AioConfig.http_session_cls`). Its usual one calls a connection
that was reset after the request by the same name as one that was refused: both are an
EndpointConnectionError (aiobotocore 2.25.1, `httpsession.py`: aiohttp's ClientOSError, which a
reset raises, is a ClientConnectionError). It also follows redirects, which would send a message to
whoever is named, and bounds no request as a whole.
"""

import asyncio
import io
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from aiobotocore.awsrequest import AioAWSResponse
from yarl import URL

from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.tls_trust import get_tls_context


class AnswerUndocumented(Exception):
    """An answer whose body is no JSON object, which every answer of SES is."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.text = body[:1000].decode("utf-8", "replace")


class Departure:
    """One request on its way: whether its first bytes have left, and until when it may take."""

    def __init__(self, budget: Budget) -> None:
        self.has_begun = False
        """True from just before the first byte of the request; connecting comes before."""
        self._budget = budget
        self._limit: asyncio.Timeout | None = None
        self._outer: Departure | None = None

    async def __aenter__(self) -> Self:
        self._limit = asyncio.timeout(self._budget.left_s("connect"))
        await self._limit.__aenter__()
        self._outer = _current.get()
        _current.set(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.set(self._outer)
        if self._limit is not None:
            await self._limit.__aexit__(kind, error, traceback)

    def begin(self) -> None:
        """Note that bytes leave from now on; the answer may take what is left of the time."""
        self.has_begun = True
        if self._limit is not None:
            ends_at = asyncio.get_running_loop().time() + self._budget.left_s("final")
            self._limit.reschedule(ends_at)


# The SDK hands nothing through to its session, but calls it in the task of its caller.
_current: ContextVar[Departure | None] = ContextVar("departure", default=None)


class SESSession:
    """What the SDK sends requests by; one for each client, for one host."""

    def __init__(
        self,
        verify: bool | str = True,
        proxies: Mapping[str, str] | None = None,
        max_pool_connections: int = 10,
        connector_args: Mapping[str, Any] | None = None,
        **others: object,
    ) -> None:
        """Takes what the SDK gives, in its words; others are bounds on time, which a Departure
        has, and what is not configurable here."""
        self._verify = verify
        self._proxies = proxies or {}
        self._connections = max_pool_connections
        # Any: the SDK's own arguments of aiohttp's connector.
        self._connector_args = dict(connector_args or {})
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; may run twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # Any: the SDK ships no types.
    async def send(self, request: Any) -> Any:
        """Send one prepared request of the SDK and read its answer to the end.

        Raises AnswerUndocumented, and aiohttp.ClientError, OSError or TimeoutError as they come.
        """
        if self._session is None:
            self._session = self._open()
        response = await self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers={name: _text(value) for name, value in request.headers.items()},
            # In pieces: a large body at once would hold up the event loop.
            data=io.BytesIO(request.body) if request.body else None,
            allow_redirects=False,
            proxy=self._proxies.get(URL(request.url).scheme),
            trace_request_ctx=_current.get(),
        )
        # Read here, so that a connection that breaks in the middle of an answer is seen here.
        body = await response.read()
        headers = {name.lower(): value for name, value in response.headers.items()}
        if not _is_object(body) and not (response.status < 300 and not body):
            raise AnswerUndocumented(response.status, headers, body)
        return AioAWSResponse(str(response.url), response.status, headers, response)

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, ssl=self._trust(), **self._connector_args
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            # The request is signed as the SDK made it.
            skip_auto_headers={"Content-Type", "User-Agent", "Accept", "Accept-Encoding"},
            auto_decompress=False,
            trust_env=False,
            trace_configs=[_trace_departures()],
        )

    def _trust(self) -> ssl.SSLContext | bool:
        if self._verify is False:
            return False
        bundle = self._verify if isinstance(self._verify, str) else None
        return get_tls_context(bundle)


def _trace_departures() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    async def note(
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceRequestHeadersSentParams,
    ) -> None:
        departure = context.trace_request_ctx
        if departure is not None:
            departure.begin()

    # aiohttp calls it just before it writes the head of a request.
    trace.on_request_headers_sent.append(note)
    return trace


def _text(value: str | bytes) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
