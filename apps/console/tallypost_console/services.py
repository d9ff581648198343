"""What the console's pages stand on; made once by `create_app`, connected by the first use."""

from contextlib import AbstractAsyncContextManager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.cookies import SessionCookie
from tallypost_console.origins import Origins
from tallypost_core.crypto import KeyRing
from tallypost_core.settings.apps import ConsoleSettings
from tallypost_domain.db.sessions import create_engine, create_session_maker, tenant_session
from tallypost_domain.people.throttle import SignInThrottle
from tallypost_resilience.limiter import LocalLimiter

APP_NAME = "tallypost-console"


class Services:
    """Database sessions, keys and limits of this process."""

    def __init__(self, settings: ConsoleSettings) -> None:
        """Opens no connection. Raises ValueError for an address or peppers that cannot be used."""
        self._engine = create_engine(settings.database.console_url.reveal(), app=APP_NAME)
        self.sessions = create_session_maker(self._engine)
        self.peppers = KeyRing.from_setting(settings.secrets.peppers.reveal())
        self.throttle = SignInThrottle(LocalLimiter())
        self.origins = Origins(settings.console.url)
        self.cookie = SessionCookie(is_secure=self.origins.is_secure)

    def session(self, tenant_id: UUID) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction in a tenant; commits at its end. Raises DatabaseUnavailable."""
        return tenant_session(self.sessions, tenant_id)

    async def close(self) -> None:
        """Give back the connections."""
        await self._engine.dispose()
