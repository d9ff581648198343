"""An account that sends for a tenant of SES: what the tenant is given, and what it is refused."""

from collections.abc import AsyncIterator

import pytest

from tallypost_providers.errors import DomainNotChecked
from tallypost_providers.provider_domains import ProviderDomain
from tallypost_providers.types import Outcome
from tallypost_simulators.ses_account import ConfigurationSet, Identity
from tests.support.ses import SES, answer, running_ses
from tests.unit.providers.emails import SENDING_DOMAIN, make_dkim_key, make_email

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

IN_TIME_S = 10.0
TENANT = "acme"
DOMAIN = ProviderDomain(name=SENDING_DOMAIN, dkim_keys=(make_dkim_key("rsa-sha256"),))
OTHER = ProviderDomain(name="other.example", dkim_keys=(make_dkim_key("rsa-sha256"),))


@pytest.fixture
async def ses() -> AsyncIterator[SES]:
    """SES whose tenant has nothing yet, and a provider that sends for that tenant."""
    async with running_ses(configuration_set="main", tenant_name=TENANT) as both:
        account = both.simulator.account
        account.add_tenant(TENANT)
        account.configuration_sets["main"] = ConfigurationSet(name="main")
        account.identities.clear()
        yield both


def resources(ses: SES) -> set[str]:
    """What the tenant may send by, less what all ARNs begin with."""
    found = ses.simulator.account.tenants[TENANT].resources
    return {arn.rpartition(":")[2] for arn in found}


async def test_tenant_of_ses_may_send_from_a_domain_once_it_is_ensured(ses: SES) -> None:
    await ses.provider.ensure_domain(DOMAIN)
    assert resources(ses) == {f"identity/{SENDING_DOMAIN}", "configuration-set/main"}
    ses.simulator.account.verify(SENDING_DOMAIN)
    assert (await ses.provider.ensure_domain(DOMAIN)).is_verified
    result = await ses.provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED


async def test_domain_of_a_second_tenant_of_ours_is_given_beside_the_first(ses: SES) -> None:
    await ses.provider.ensure_domain(DOMAIN)
    await ses.provider.ensure_domain(OTHER)
    assert resources(ses) == {
        f"identity/{SENDING_DOMAIN}", "identity/other.example", "configuration-set/main",
    }  # fmt: skip


async def test_identity_that_somebody_else_made_is_given_to_the_tenant_too(ses: SES) -> None:
    ses.simulator.account.add_domain(SENDING_DOMAIN).configuration_set = "main"
    assert (await ses.provider.ensure_domain(DOMAIN)).is_verified
    assert f"identity/{SENDING_DOMAIN}" in resources(ses)


async def test_configuration_set_that_an_identity_brings_is_given_to_the_tenant() -> None:
    async with running_ses(tenant_name=TENANT) as ses:
        account = ses.simulator.account
        account.add_tenant(TENANT)
        account.configuration_sets["theirs"] = ConfigurationSet(name="theirs")
        account.identities[SENDING_DOMAIN].configuration_set = "theirs"
        await ses.provider.ensure_domain(DOMAIN)
        assert resources(ses) == {f"identity/{SENDING_DOMAIN}", "configuration-set/theirs"}
        result = await ses.provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED


async def test_account_without_a_tenant_asks_for_none() -> None:
    async with running_ses() as ses:
        ses.simulator.account.denied |= {"GetTenant", "CreateTenantResourceAssociation"}
        assert (await ses.provider.ensure_domain(DOMAIN)).is_verified


@pytest.mark.parametrize("missing", ["tenant", "configuration-set"])
async def test_domain_is_not_verified_where_ses_lacks_what_the_settings_name(
    ses: SES, missing: str
) -> None:
    account = ses.simulator.account
    account.add_domain(SENDING_DOMAIN)
    (account.tenants if missing == "tenant" else account.configuration_sets).clear()
    standing = await ses.provider.ensure_domain(DOMAIN)
    assert not standing.is_verified
    assert f"knows no {missing}" in standing.detail


@pytest.mark.parametrize("operation", ["GetTenant", "CreateTenantResourceAssociation"])
async def test_key_that_may_not_give_the_domain_to_the_tenant_says_nothing_about_the_domain(
    ses: SES, operation: str
) -> None:
    ses.simulator.account.denied.add(operation)
    with pytest.raises(DomainNotChecked, match="AccessDeniedException") as caught:
        await ses.provider.ensure_domain(DOMAIN)
    assert ses.simulator.account.account_id not in str(caught.value)


async def test_domain_that_the_tenant_lacks_is_no_matter_of_the_account(ses: SES) -> None:
    ses.simulator.account.add_domain(SENDING_DOMAIN)
    result = await ses.provider.send(make_email(), IN_TIME_S)
    (entry,) = result.recipients
    assert (entry.outcome, entry.reply_code) == (Outcome.SUSPENDED, 403)
    assert result.concerns == "sender"
    assert "tenant" in entry.detail
    assert ses.simulator.account.account_id not in entry.detail


async def test_configuration_set_that_the_tenant_lacks_keeps_everybody_from_sending(
    ses: SES,
) -> None:
    account = ses.simulator.account
    account.identities[SENDING_DOMAIN] = Identity(name=SENDING_DOMAIN, is_verified=True)
    account.tenants[TENANT].resources.add(account.arn(f"identity/{SENDING_DOMAIN}"))
    result = await ses.provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.SUSPENDED
    assert result.concerns == "account"


async def test_other_denials_are_about_the_account(ses: SES) -> None:
    words = "User: x is not authorized to perform: ses:SendEmail on identity/a.example"
    ses.simulator.faults.replace(answer(403, "AccessDeniedException", words))
    assert (await ses.provider.send(make_email(), IN_TIME_S)).concerns == "account"
