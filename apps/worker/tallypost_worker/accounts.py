"""Builds the platform's provider accounts from the settings."""

from tallypost_core.settings.apps import WorkerSettings
from tallypost_domain.db.pools import Pool
from tallypost_domain.inbox.service import store_outgoing
from tallypost_providers import ses_settings
from tallypost_providers.inbox import InboxProvider
from tallypost_providers.registry import create_account, get_settings_struct
from tallypost_providers.sendgrid_api import address_of
from tallypost_providers.types import OutgoingEmail, Provider
from tallypost_worker.delivery_spans import Peer


def create_accounts(settings: WorkerSettings, pool: Pool) -> tuple[Provider, ...]:
    """The accounts of TALLYPOST_PROVIDERS, best first, and the Inbox for test mode.

    settings come from `account_settings.load_worker` where a plugin is named. Raises
    ProviderMisconfigured that names the variable.
    """
    return (*(_create_account(name, settings) for name in settings.providers), _inbox(pool))


def peers_of(settings: WorkerSettings) -> dict[str, Peer]:
    """Whom the accounts speak to, by account; one without a peer is left out."""
    peers: dict[str, Peer] = {}
    if settings.smtp.host is not None:
        peers["smtp"] = Peer("smtp", settings.smtp.host, settings.smtp.port)
    if "sendgrid" in settings.providers:
        peers["sendgrid"] = Peer("http", *address_of(settings.sendgrid))
    if "ses" in settings.providers:
        peers["ses"] = Peer("http", *ses_settings.address_of(settings.ses))
    return peers


def _create_account(name: str, settings: WorkerSettings) -> Provider:
    # Says first where the name is of no use: it may be that of another field.
    get_settings_struct(name)
    return create_account(name, getattr(settings, name))


def _inbox(pool: Pool) -> InboxProvider:
    async def store(email: OutgoingEmail, message: bytes) -> None:
        async with pool.acquire() as connection:
            await store_outgoing(connection, email, message)

    return InboxProvider(store)
