"""What the console's pages stand on; made once by `create_app`, connected by the first use."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.cookies import SessionCookie
from tallypost_console.demo import Demo
from tallypost_console.forms import SentForms
from tallypost_console.live import LiveViews
from tallypost_console.origins import Origins
from tallypost_console.sending import Sending
from tallypost_core.crypto import KeyRing
from tallypost_core.settings.apps import ConsoleSettings
from tallypost_core.settings.groups import ConsoleListenSettings
from tallypost_core.ttl_cache import TTLCache
from tallypost_domain.audit.types import Actor
from tallypost_domain.db.sessions import create_engine, create_session_maker, tenant_session
from tallypost_domain.emails import messages
from tallypost_domain.people.throttle import SignInThrottle
from tallypost_providers.message import render_async
from tallypost_providers.mime import write_message
from tallypost_providers.types import Attachment, Mode
from tallypost_resilience.limiter import LocalLimiter
from tallypost_telemetry.object_store_spans import open_traced_store

APP_NAME = "tallypost-console"
HOME_NUMBERS_TTL_S: Final = 5.0

# One has up to 40 MB, and exists about four times while its message is made.
_WHOLE_EMAILS: Final = 2


class Services:
    """Database sessions, messages, keys, limits and live views of this process."""

    def __init__(self, settings: ConsoleSettings) -> None:
        """Opens no connection, but makes the folder of attachments where it is missing.

        Raises ValueError for an address, a key ring or peppers that cannot be used.
        """
        self._engine = create_engine(settings.database.console_url.reveal(), app=APP_NAME)
        self.sessions = create_session_maker(self._engine)
        self.peppers = KeyRing.from_setting(settings.secrets.peppers.reveal())
        self.key_ring = KeyRing.from_setting(settings.secrets.key_ring.reveal())
        self.account_networks = settings.tenant_accounts.networks
        """Where hosts of tenants' provider accounts may be, beside the public internet."""
        self.throttle = SignInThrottle(LocalLimiter())
        self.origins = Origins(settings.console.url)
        self.cookie = SessionCookie(is_secure=self.origins.is_secure)
        self.live = LiveViews()
        self.sent_forms = SentForms()
        # Any: what the start page shows. To count a million emails takes up to 0.2 s.
        self.home_numbers: TTLCache[tuple[UUID, Mode], dict[str, Any]] = TTLCache(
            size=1_000, ttl_s=HOME_NUMBERS_TTL_S
        )
        self.demo = _find_demo(settings.console)
        """The demo's controller; None but in `tallypost demo`."""
        self._objects = open_traced_store(settings.objects)
        self._sending = Sending(
            settings.database, self.sessions, self._objects, self.peppers, app=APP_NAME
        )
        self._whole_emails = asyncio.Semaphore(_WHOLE_EMAILS)

    def session(self, tenant_id: UUID) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction in a tenant; commits at its end. Raises DatabaseUnavailable."""
        return tenant_session(self.sessions, tenant_id)

    async def build_message(self, tenant_id: UUID, email_id: UUID) -> bytes:
        """The message of an email, as each copy of it is but for the signature.

        Waits where several are being built. Raises EmailNotFound, AttachmentGone,
        EmailNotBuildable, ObjectStoreUnavailable, DatabaseUnavailable.
        """
        async with self._whole_emails:
            async with self.session(tenant_id) as session:
                source = await messages.load_source(session, tenant_id, email_id)
            return await render_async(await messages.assemble(self._objects, source))

    async def build_head(self, tenant_id: UUID, email_id: UUID) -> bytes:
        """The head of that message, with the empty line that ends it; no attachment is read.

        Raises EmailNotFound, EmailNotBuildable, DatabaseUnavailable.
        """
        async with self.session(tenant_id) as session:
            source = await messages.load_outline(session, tenant_id, email_id)
        # The head names the encoding of a body, for which all of that is looked at.
        written = await asyncio.to_thread(write_message, messages.outline(source))
        return written.head

    async def fetch_attachment(self, tenant_id: UUID, email_id: UUID, index: int) -> Attachment:
        """One attachment of an email with its body; the first is 0.

        Raises EmailNotFound, AttachmentNotFound, AttachmentGone, ObjectStoreUnavailable,
        DatabaseUnavailable.
        """
        async with self._whole_emails:
            async with self.session(tenant_id) as session:
                stored = await messages.get_attachment(session, tenant_id, email_id, index)
            (attachment,) = await messages.fetch_attachments(self._objects, [stored])
        return attachment

    async def resend(self, tenant_id: UUID, email_id: UUID, *, key: str, actor: Actor) -> UUID:
        """As `Resender.resend`; waits where several whole emails are in memory."""
        async with self._whole_emails:
            return await self._sending.resend(tenant_id, email_id, key=key, actor=actor)

    async def close(self) -> None:
        """Give back the connections."""
        if self.demo is not None:
            await self.demo.close()
        await self._sending.close()
        await self._engine.dispose()
        await self._objects.close()


def _find_demo(settings: ConsoleListenSettings) -> Demo | None:
    if settings.demo_url is None or settings.demo_token is None:
        return None
    return Demo(settings.demo_url, settings.demo_token)
