"""What people send: by the logins and the path that the API's emails take."""

import asyncio
import contextlib
from typing import Final
from uuid import UUID

from tallypost_core.crypto import KeyRing
from tallypost_core.object_store import ObjectStore
from tallypost_core.settings.databases import ConsoleDatabaseSettings
from tallypost_domain.audit.types import Actor
from tallypost_domain.db.errors import translated
from tallypost_domain.db.pools import Pool, create_pool
from tallypost_domain.db.sessions import SessionMaker, create_engine, create_session_maker
from tallypost_domain.emails.accept import Acceptor
from tallypost_domain.emails.limits import Limits
from tallypost_domain.emails.resending import Resender

# A person presses a button now and then; what does not fit is told to try again in a moment.
_LIMITS: Final = Limits(held_emails=100, large_in_flight=1, apart=1, patient=1)
_LOOK_UPS: Final = 2
# Of what was taken on; whoever waited for it has been answered before.
_FINISH_LIMIT_S: Final = 3.0


class Sending:
    """The console's own acceptor, connected when somebody first sends."""

    def __init__(
        self,
        settings: ConsoleDatabaseSettings,
        sessions: SessionMaker,
        objects: ObjectStore,
        peppers: KeyRing,
        *,
        app: str,
    ) -> None:
        """Opens no connection. sessions log in as tp_console; app names the connections."""
        self._accept_url = settings.accept_url.reveal()
        self._api_engine = create_engine(settings.api_url.reveal(), pool_size=_LOOK_UPS, app=app)
        self._sessions = sessions
        self._objects = objects
        self._peppers = peppers
        self._app = app
        self._connecting = asyncio.Lock()
        self._pool: Pool | None = None
        self._acceptor: Acceptor | None = None

    async def resend(self, tenant_id: UUID, email_id: UUID, *, key: str, actor: Actor) -> UUID:
        """As `Resender.resend`."""
        resender = Resender(await self._get_acceptor(), self._sessions, self._objects)
        return await resender.resend(tenant_id, email_id, key=key, actor=actor)

    async def close(self) -> None:
        """Give back the connections, once what was taken on is stored or the time for it is up."""
        if self._acceptor is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FINISH_LIMIT_S):
                    await self._acceptor.close()
        if self._pool is not None:
            await self._pool.close()
        await self._api_engine.dispose()

    async def _get_acceptor(self) -> Acceptor:
        async with self._connecting:
            if self._acceptor is None:
                with translated():
                    self._pool = await create_pool(
                        self._accept_url, size=_LIMITS.connections, app=self._app
                    )
                # Without a feed it asks about domains and quotas anew after a second, which is as
                # often as people send.
                self._acceptor = Acceptor(
                    self._pool,
                    create_session_maker(self._api_engine),
                    self._objects,
                    self._peppers,
                    limits=_LIMITS,
                )
        return self._acceptor
