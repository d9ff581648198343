"""Who is calling, with what it may call: the one dependency of handlers.

One and not several, because Litestar resolves several in tasks of their own: about a tenth of a
millisecond for each request, under a profiler.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from litestar import Request
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_api.errors import LiveKeyRequired
from tallypost_api.request_headers import find_header
from tallypost_api.services import Services
from tallypost_domain.api_keys.types import Principal
from tallypost_domain.audit.types import Actor
from tallypost_domain.emails.accept import Acceptor
from tallypost_domain.emails.types import Sender
from tallypost_providers.types import Mode


class Caller(Struct, frozen=True):
    """An authenticated key and the domain as it may use it."""

    principal: Principal
    services: Services

    @property
    def tenant_id(self) -> UUID:
        """The tenant of the key."""
        return self.principal.tenant_id

    @property
    def mode(self) -> Mode:
        """The mode of the key."""
        return self.principal.mode

    @property
    def sender(self) -> Sender:
        """The key as the origin of emails."""
        return Sender(
            tenant_id=self.principal.tenant_id,
            api_key_id=self.principal.api_key_id,
            mode=self.principal.mode,
            default_stream=self.principal.stream,
        )

    @property
    def acceptor(self) -> Acceptor:
        """Takes emails. Raises ServiceUnavailable where it cannot yet."""
        return self.services.acceptor

    def require_live(self) -> None:
        """Raise LiveKeyRequired for a test key: test mode never touches live mail."""
        if self.mode != "live":
            raise LiveKeyRequired

    def as_actor(self, request: Request[Any, Any, Any]) -> Actor:
        """The key as the audit log knows it, with the address and the program of a request."""
        client = request.scope["client"]
        return Actor(
            kind="api_key",
            id=self.principal.api_key_id,
            ip_address=client[0] if client else None,
            user_agent=find_header(request.scope, b"user-agent"),
        )

    def session(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction in the key's tenant; commits at its end."""
        return self.services.session(self.principal.tenant_id)
