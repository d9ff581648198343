"""Builds the platform's provider accounts from the settings."""

from collections.abc import Callable

from tallypost_core.settings.apps import WorkerSettings
from tallypost_domain.db.pools import Pool
from tallypost_domain.inbox.service import store_outgoing
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.inbox import InboxProvider
from tallypost_providers.registry import get_provider_class
from tallypost_providers.types import OutgoingEmail, Provider
from tallypost_worker.delivery_spans import Peer


def create_accounts(settings: WorkerSettings, pool: Pool) -> tuple[Provider, ...]:
    """The accounts of TALLYPOST_PROVIDERS, best first, and the Inbox for test mode.

    Raises ProviderMisconfigured that names the variable.
    """
    return (*(_create_account(name, settings) for name in settings.providers), _inbox(pool))


def peers_of(settings: WorkerSettings) -> dict[str, Peer]:
    """Whom the accounts speak to, by account; one without a peer is left out."""
    if settings.smtp.host is None:
        return {}
    return {"smtp": Peer("smtp", settings.smtp.host, settings.smtp.port)}


def _create_account(name: str, settings: WorkerSettings) -> Provider:
    # The Protocol says nothing of constructors: what one takes is known for the names below only.
    create: Callable[..., Provider] = get_provider_class(name)
    groups = {"smtp": settings.smtp}
    if name not in groups:
        raise ProviderMisconfigured(
            f"TALLYPOST_PROVIDERS names {name!r}, which has no group of settings. "
            f"It may name: {', '.join(sorted(groups))}."
        )
    return create(groups[name], account=name)


def _inbox(pool: Pool) -> InboxProvider:
    async def store(email: OutgoingEmail, message: bytes) -> None:
        async with pool.acquire() as connection:
            await store_outgoing(connection, email, message)

    return InboxProvider(store)
