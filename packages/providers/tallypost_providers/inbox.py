"""Delivers into the platform's own Inbox: the only provider that test mode may use."""

import asyncio
from collections.abc import Awaitable, Callable

from tallypost_providers.base import same_for_all
from tallypost_providers.errors import StoreOutcomeUnknown
from tallypost_providers.message import render_async
from tallypost_providers.types import Capabilities, Outcome, OutgoingEmail, SendResult

Store = Callable[[OutgoingEmail, bytes], Awaitable[None]]


class InboxProvider:
    """Renders each email as for a real send and hands it to a store; reaches nobody outside."""

    name = "inbox"
    account = "inbox"
    capabilities = Capabilities(
        raw_mime=True,
        keeps_message_id=True,
        keeps_envelope=True,
        signs_dkim=False,
        idempotent=False,
        lookup=False,
        events=False,
        reaches_outside=False,
    )
    rate_per_s: float | None = None

    def __init__(self, store: Store) -> None:
        """store keeps the message for the email's recipients: all of them, or it raises.

        It raises StoreOutcomeUnknown where it may have kept it, anything else where it has not.
        """
        self._store = store

    def find_obstacle(self, _email: OutgoingEmail) -> str | None:
        """It takes everything."""
        return None

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Store one email; see `types.Provider.send`.

        A store that raises has kept nothing, which is UNAVAILABLE; one that does not know, or
        does not come back in time, may have, which is AMBIGUOUS.
        """
        message = await render_async(email)
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                await self._store(email, message)
        except StoreOutcomeUnknown:
            detail = "the Inbox does not know whether it stored the message"
            return same_for_all(email, Outcome.AMBIGUOUS, phase="store", detail=detail)
        # The store is given from outside and may fail with any error of its database: for the
        # caller each means the same, and none may look like a fault of the email.
        except Exception as error:
            if deadline.expired():
                detail = "the Inbox did not answer in time"
                return same_for_all(email, Outcome.AMBIGUOUS, phase="store", detail=detail)
            return same_for_all(
                email,
                Outcome.UNAVAILABLE,
                phase="store",
                detail="the Inbox could not store the message",
                evidence={"error": type(error).__name__},
            )
        return same_for_all(email, Outcome.ACCEPTED, phase="store")

    async def close(self) -> None:
        """Do nothing: the store belongs to whoever passed it in, and goes on taking emails."""
