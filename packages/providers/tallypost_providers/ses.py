"""Hands emails to Amazon SES by its API, version 2."""

from typing import Self

from msgspec.structs import replace

from tallypost_core.settings.providers import SESSettings
from tallypost_providers.account_checks import CheckStep
from tallypost_providers.message import render_async
from tallypost_providers.places import Places
from tallypost_providers.provider_domains import DomainStanding, ProviderDomain
from tallypost_providers.ses_answers import SESReply
from tallypost_providers.ses_check import check_account
from tallypost_providers.ses_client import SESClient
from tallypost_providers.ses_domains import ensure_domain
from tallypost_providers.ses_envelope import MAX_MESSAGE_BYTES, SESAnswers
from tallypost_providers.ses_settings import require_usable
from tallypost_providers.ses_sizes import find_size_over
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.tenant_settings import SESTenantSettings
from tallypost_providers.types import Capabilities, OutgoingEmail, SendResult
from tallypost_resilience.egress_rules import EgressRules

EMAIL_ID_TAG = "tallypost_email_id"
TENANT_ID_TAG = "tallypost_tenant_id"
"""Names of the tags that come back with each event of SES, which knows no header of ours."""


class SESProvider:
    """One AWS account in one Region as a provider; see `base` for what it promises.

    SES signs with the domain's own RSA key, which `ensure_domain` gives it, and writes Message-ID,
    Date and Return-Path anew. So the message goes out unsigned, and events are matched by tags.
    """

    name = "ses"
    settings = SESSettings
    capabilities = Capabilities(
        raw_mime=True,
        keeps_message_id=False,
        keeps_envelope=True,
        signs_dkim=True,
        idempotent=False,
        lookup=False,
        events=True,
        reaches_outside=True,
    )

    def __init__(self, settings: SESSettings, account: str) -> None:
        """Raises ProviderMisconfigured, which names the variable; connects to nothing."""
        require_usable(settings)
        self.account = account
        self.rate_per_s = settings.rate_per_s
        self._settings = settings
        self._client = SESClient(settings)
        self._places = Places(settings.connections)

    @classmethod
    def for_tenant(
        cls,
        settings: SESTenantSettings,
        account: str,
        *,
        rules: EgressRules,
        owner: str,
        endpoint: str | None = None,
    ) -> Self:
        """An account of a tenant; the address is that of its Region, or the operator's endpoint.

        A tenant chooses no host, so that rules have nothing to judge and owner nothing to bound.
        """
        return cls(
            SESSettings(
                region=settings.region,
                access_key_id=settings.access_key_id,
                secret_access_key=settings.secret_access_key,
                configuration_set=settings.configuration_set,
                tenant_name=settings.tenant_name,
                endpoint=endpoint,
                rate_per_s=settings.rate_per_s,
                connections=settings.connections,
            ),
            account,
        )

    def find_obstacle(self, email: OutgoingEmail) -> str | None:
        """A recipient or a size that SES takes in no case; see `types.Provider.find_obstacle`."""
        return SESAnswers(email).find_obstacle(find_size_over(email, MAX_MESSAGE_BYTES))

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Hand one email over; see `types.Provider.send`.

        Raises ProviderBusy where no connection becomes free in one third of the time.
        """
        budget = Budget(timeout_s)
        answers = SESAnswers(email)
        if not answers.is_complete and not answers.refuse_too_many():
            await self._places.take(budget.left_for_place_s(), is_bulk=email.is_bulk)
            try:
                # Not sooner: those who wait would each keep a message in memory.
                message = await render_async(replace(email, dkim_keys=()))
                if not answers.refuse_too_large(len(message)):
                    answers.settle(await self._hand_over(email, answers, message, budget))
            finally:
                self._places.give_back()
        return answers.result()

    async def ensure_domain(self, domain: ProviderDomain) -> DomainStanding:
        """Register the domain with its RSA key, or tell where it stands; may run twice.

        The tenant of SES that the settings name is given the domain and the configuration set. An
        identity that Tallypost did not make is looked at and left as it is. Raises
        DomainNotChecked where SES did not say, and ProviderBusy once the provider is closed.
        """
        return await ensure_domain(self._client, self._settings, domain)

    async def check(self, timeout_s: float) -> tuple[CheckStep, ...]:
        """Ask SES about the account and its configuration set; sends nothing.

        Raises ProviderBusy once the provider is closed.
        """
        return await check_account(self._client, self._settings.configuration_set, timeout_s)

    async def close(self) -> None:
        """Take no more emails; connections close with the last handover under way."""
        self._places.close()
        await self._client.close()

    async def _hand_over(
        self, email: OutgoingEmail, answers: SESAnswers, message: bytes, budget: Budget
    ) -> SESReply:
        reply = await self._client.call(
            "send_email",
            budget,
            # No FromEmailAddress: SES takes the sender from the message's From, and bounces go
            # to its own Return-Path.
            Destination=answers.destination(),
            Content={"Raw": {"Data": message}},
            EmailTags=[
                {"Name": EMAIL_ID_TAG, "Value": str(email.email_id)},
                {"Name": TENANT_ID_TAG, "Value": str(email.tenant_id)},
            ],
            **self._account_parameters(),
        )
        return reply.require("MessageId")

    def _account_parameters(self) -> dict[str, str]:
        named = {
            "ConfigurationSetName": self._settings.configuration_set,
            "TenantName": self._settings.tenant_name,
        }
        return {name: value for name, value in named.items() if value is not None}
