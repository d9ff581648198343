"""Makes provider accounts of what tenants have stored."""

import contextlib
from collections.abc import AsyncIterator

import structlog

from tallypost_core.settings.tenant_accounts import TenantAccountsSettings
from tallypost_domain.routing.types import OpenedAccount
from tallypost_providers.tenant_accounts import create_tenant_account, open_settings
from tallypost_providers.types import Provider
from tallypost_resilience.egress_rules import EgressRules

log = structlog.get_logger()


class TenantAccounts:
    """Makes accounts that connect to nothing where tenants have no business."""

    def __init__(self, settings: TenantAccountsSettings) -> None:
        self._rules = EgressRules(allowed_networks=settings.networks)
        self._endpoints = settings.endpoints

    def create(self, account: OpenedAccount) -> Provider:
        """An account that bears its id as its name.

        Raises UnknownProvider, InvalidAccountSettings, ProviderMisconfigured.
        """
        settings = open_settings(account.provider, account.settings, account.secrets)
        return create_tenant_account(
            account.provider,
            settings,
            str(account.id),
            self._rules,
            self._endpoints,
            owner=str(account.tenant_id),
        )

    @contextlib.asynccontextmanager
    async def opened(self, account: OpenedAccount) -> AsyncIterator[Provider]:
        """An account for one question, closed afterwards. Raises what `create` raises."""
        provider = self.create(account)
        try:
            yield provider
        finally:
            try:
                await provider.close()
            except Exception:
                # What it was asked is answered; nobody waits for what it could not give back.
                log.exception("account.not_closed", provider=provider.name)
