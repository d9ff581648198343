"""Builds the platform's provider accounts from the settings."""

from tallypost_core.settings.apps import WorkerSettings
from tallypost_domain.db.pools import Pool
from tallypost_domain.inbox.service import store_outgoing
from tallypost_providers.inbox import InboxProvider
from tallypost_providers.smtp import SMTPProvider
from tallypost_providers.types import OutgoingEmail, Provider


def create_accounts(settings: WorkerSettings, pool: Pool) -> tuple[Provider, ...]:
    """The accounts of TALLYPOST_PROVIDERS, best first, and the Inbox for test mode.

    Raises ProviderMisconfigured that names the variable.
    """
    accounts: list[Provider] = []
    for name in settings.providers:
        if name == "smtp":
            accounts.append(SMTPProvider(settings.smtp, account="smtp"))
    return (*accounts, _inbox(pool))


def _inbox(pool: Pool) -> InboxProvider:
    async def store(email: OutgoingEmail, message: bytes) -> None:
        async with pool.acquire() as connection:
            await store_outgoing(connection, email, message)

    return InboxProvider(store)
