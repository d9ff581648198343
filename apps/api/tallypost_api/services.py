"""What the handlers call, and the connections behind it.

Nothing connects when it is built. The process starts without a database too: then it says that
it is not ready, refuses with 503, and mends itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from litestar import Litestar
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_api.errors import ServiceUnavailable
from tallypost_core.crypto import KeyRing
from tallypost_core.settings.apps import APISettings
from tallypost_core.settings.tenant_accounts import Network
from tallypost_domain.api_keys.service import KeyDirectory
from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.db.pools import create_pool
from tallypost_domain.db.sessions import create_engine, create_session_maker, tenant_session
from tallypost_domain.emails.accept import DEFAULT_LIMITS, Acceptor
from tallypost_resilience import redis_client
from tallypost_resilience.cluster_limiter import ClusterLimiter
from tallypost_resilience.egress import Egress
from tallypost_resilience.egress_rules import EgressRules
from tallypost_resilience.limiter import Limiter, LocalLimiter
from tallypost_telemetry.checks.postgres import check_postgres
from tallypost_telemetry.object_store_spans import open_traced_store
from tallypost_telemetry.ops import Check

APP_NAME: Final = "tallypost-api"

_FIRST_CONNECT_LIMIT_S = 5.0
_RECONNECT_AFTER_S = 1.0
# Of what was taken on from clients that have gone; those who still wait were answered before.
_FINISH_LIMIT_S = 3.0

log = structlog.get_logger()


class Services:
    """The domain, with this process's logins."""

    def __init__(self, settings: APISettings) -> None:
        """Raises KeyRingError or ValueError where settings cannot be used."""
        self._settings = settings
        self._peppers = KeyRing.from_setting(settings.secrets.peppers.reveal())
        self._key_ring = KeyRing.from_setting(settings.secrets.key_ring.reveal())
        self._objects = open_traced_store(settings.objects)
        self._engine = create_engine(settings.database.api_url.reveal(), app=APP_NAME)
        self._sessions = create_session_maker(self._engine)
        url = settings.notifications.url or settings.database.api_url
        self._feed = ChangeFeed(url.reveal(), app=APP_NAME)
        self._acceptor: Acceptor | None = None
        self._has_tried = asyncio.Event()
        redis_url = settings.redis.url
        self._redis = redis_client.connect(redis_url) if redis_url is not None else None
        self.keys = KeyDirectory(self._sessions, self._peppers, self._feed)
        self.limiter: Limiter = (
            ClusterLimiter(self._redis, processes=settings.accept.processes)
            if self._redis is not None
            else LocalLimiter()
        )
        """Counts the requests of each key, for all processes together where Redis is known."""

    @property
    def acceptor(self) -> Acceptor:
        """Takes emails. Raises ServiceUnavailable until its first connection stands."""
        if self._acceptor is None:
            raise ServiceUnavailable(retry_after_s=_RECONNECT_AFTER_S)
        return self._acceptor

    @property
    def key_ring(self) -> KeyRing:
        """What opens the tenants' data keys."""
        return self._key_ring

    @property
    def allowed_networks(self) -> tuple[Network, ...]:
        """Where the hosts of tenants' accounts may be beside the public internet."""
        return self._settings.tenant_accounts.networks

    @property
    def peppers(self) -> KeyRing:
        """What addresses on the suppression list are hashed with."""
        return self._peppers

    def session(self, tenant_id: UUID) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction in a tenant; commits at its end."""
        return tenant_session(self._sessions, tenant_id)

    def readiness_checks(self) -> dict[str, Check]:
        """A check for each login, and one that this process has its own connections."""
        return {
            "postgres_api": check_postgres(self._settings.database.api_url),
            "postgres_accept": check_postgres(self._settings.database.accept_url),
            "acceptor": self._check_acceptor,
        }

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Connect, and close everything at the end, once what was taken on is stored."""
        # The limits of an email bound an answer, not those of the rules.
        egress = Egress("attachments", EgressRules())
        connecting = asyncio.create_task(self._connect(egress))
        listening = asyncio.create_task(self._feed.run())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_CONNECT_LIMIT_S):
                    await self._has_tried.wait()
            yield
        finally:
            if self._acceptor is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FINISH_LIMIT_S):
                        await self._acceptor.close()
            for task in (connecting, listening):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                pool = await connecting
                await pool.close()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            await egress.aclose()
            await self._close_limiter()
            await self._engine.dispose()
            await self._objects.close()

    async def _close_limiter(self) -> None:
        if isinstance(self.limiter, ClusterLimiter):
            await self.limiter.aclose()
        if self._redis is not None:
            await self._redis.aclose()

    async def _connect(self, egress: Egress) -> "asyncpg.Pool[asyncpg.Record]":
        while True:
            try:
                pool = await create_pool(
                    self._settings.database.accept_url.reveal(),
                    size=DEFAULT_LIMITS.connections,
                    app=APP_NAME,
                )
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("database.unreachable", login="accept", error=type(error).__name__)
                self._has_tried.set()
                await asyncio.sleep(_RECONNECT_AFTER_S)
            else:
                self._acceptor = Acceptor(
                    pool,
                    self._sessions,
                    self._objects,
                    self._peppers,
                    feed=self._feed,
                    egress=egress,
                )
                self._has_tried.set()
                return pool

    async def _check_acceptor(self) -> None:
        self.acceptor  # noqa: B018  Raises where it is missing.
