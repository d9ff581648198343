"""Who may call a route, and how often: the key, then its rate, then its permission.

It runs before a handler does, so that nobody without a key can make the process read a body.
"""

import hashlib
import math
from typing import Final, cast

import structlog
from litestar.enums import ScopeType
from litestar.exceptions import MethodNotAllowedException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from tallypost_api.caller import Caller
from tallypost_api.errors import MissingAPIKey, RateLimitExceeded, RestrictedAPIKey
from tallypost_api.limit_headers import limit_headers
from tallypost_api.permissions import GRANTS, OPT_KEY, Permission
from tallypost_api.request_context import RequestContext, request_context
from tallypost_api.request_headers import find_header
from tallypost_api.services import Services
from tallypost_api.style import Style, style_of_handler
from tallypost_core.crypto import parse_api_key
from tallypost_core.ttl_cache import TTLCache
from tallypost_domain.api_keys.errors import InvalidAPIKey, TenantSuspended
from tallypost_domain.api_keys.types import Principal
from tallypost_resilience.limiter import LocalLimiter

MIN_BURST: Final = 10
"""What an idle key may send at once, however low its rate."""

STRANGERS_PER_S: Final = 20.0
STRANGERS_BURST: Final = 100
"""How many keys that it does not remember the process looks up for one address."""

_SCHEME = "bearer"
_TOO_MANY = "Too many requests; the `RateLimit` header tells when there is room again."
_REMEMBERED_KEYS = 100_000
_REMEMBERED_S = 3600.0


class Access(ASGIMiddleware):
    """Authenticates, limits and authorises each request of a route that is not public."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, services: Services, rate_limit_per_s: float) -> None:
        """rate_limit_per_s is for keys that have no limit of their own."""
        self._services = services
        self._limiter = services.limiter
        self._rate_limit_per_s = rate_limit_per_s
        self._strangers = LocalLimiter()
        # Hashes of keys that were good lately. Those never wait because of others that are not,
        # behind the same address: that may be a proxy's.
        self._remembered: TTLCache[bytes, bool] = TTLCache(
            size=_REMEMBERED_KEYS, ttl_s=_REMEMBERED_S
        )

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Let the request pass, or raise what is wrong with it."""
        if cast(HTTPScope, scope)["method"] == "OPTIONS":
            # Litestar would answer with an empty 204. Browsers have no business with API keys,
            # so there is no CORS either.
            raise MethodNotAllowedException(headers={"allow": _allowed_methods(scope)})
        handler = scope["route_handler"]
        await self.admit(scope, handler.opt[OPT_KEY], style_of_handler(handler))
        await next_app(scope, receive, send)

    async def admit(
        self, scope: Scope, permission: Permission, style: Style = Style.RESEND
    ) -> None:
        """Note who calls, where a route with this permission may be called by them now.

        Raises MissingAPIKey, InvalidAPIKey, TenantSuspended, RateLimitExceeded, RestrictedAPIKey,
        DatabaseUnavailable.
        """
        if permission is Permission.PUBLIC:
            return
        context = request_context(scope)
        key = _key_text(scope)
        principal = self._services.keys.find_known(key) or await self._authenticate(scope, key)
        structlog.contextvars.bind_contextvars(tenant_id=str(principal.tenant_id))
        await self._take(context, principal, style)
        if permission not in GRANTS[principal.permission]:
            raise RestrictedAPIKey
        context.caller = Caller(principal, self._services)

    async def _authenticate(self, scope: Scope, key: str) -> Principal:
        mark = hashlib.sha256(key.encode()).digest()
        # A malformed key costs no look-up, so it need not be rationed.
        if self._remembered.find(mark) is None and parse_api_key(key) is not None:
            await self._take_look_up(scope)
        try:
            principal = await self._services.keys.authenticate(key)
        except (InvalidAPIKey, TenantSuspended):
            self._remembered.forget(mark)
            raise
        self._remembered.put(mark, True)
        return principal

    async def _take_look_up(self, scope: Scope) -> None:
        """Ration look-ups before they happen: one in the database would be the harm itself."""
        client = scope["client"]
        decision = await self._strangers.take(
            client[0] if client else "", STRANGERS_PER_S, burst=STRANGERS_BURST
        )
        if not decision.allowed:
            raise RateLimitExceeded(
                "Too many requests with unknown API keys came from this address.",
                retry_after_s=decision.retry_after_s,
            )

    async def _take(self, context: RequestContext, principal: Principal, style: Style) -> None:
        rate_per_s = principal.rate_limit_per_s or self._rate_limit_per_s
        burst = max(MIN_BURST, math.ceil(rate_per_s))
        decision = await self._limiter.take(str(principal.api_key_id), rate_per_s, burst=burst)
        context.headers += limit_headers(style, decision, rate_per_s=rate_per_s, burst=burst)
        if not decision.allowed:
            words = _TOO_MANY if style is Style.OURS else None
            raise RateLimitExceeded(words, retry_after_s=decision.retry_after_s)


def _key_text(scope: Scope) -> str:
    header = find_header(scope, b"authorization") or ""
    scheme, _, key = header.strip().partition(" ")
    if scheme.lower() != _SCHEME or not key.strip():
        raise MissingAPIKey
    return key.strip()


def _allowed_methods(scope: Scope) -> str:
    methods = {
        method
        for route in scope["litestar_app"].routes
        if route.path_format == scope["path_template"]
        for method in route.methods
    }
    return ", ".join(sorted(methods - {"OPTIONS"}))
