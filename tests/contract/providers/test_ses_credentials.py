"""Accounts at SES share what the SDK knows of AWS, and never what they log in with."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import pytest

from tallypost_core.settings.loader import Secret
from tallypost_core.settings.providers import SESSettings
from tallypost_providers.ses import SESProvider
from tallypost_providers.tenant_accounts import SESTenantSettings, create_tenant_account
from tallypost_providers.types import Outcome, Provider
from tallypost_resilience.egress_rules import EgressRules
from tallypost_simulators.ses_account import SESAccount
from tallypost_simulators.ses_simulator import SESSimulator
from tests.unit.providers.emails import SENDING_DOMAIN, make_email

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

IN_TIME_S = 10.0
KEYS = {f"AKIATENANT{number}EXAMPLE00": f"secret/of/tenant/{number}" for number in range(4)}
PLATFORM_KEY = ("AKIAPLATFORMEXAMPLE0", "secret/of/the/platform")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets the credentials of this machine."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Simulators and accounts that end with the test."""
    async with AsyncExitStack() as resources:
        yield resources


async def start_ses(
    stack: AsyncExitStack, secrets: Mapping[str, str], region: str = "eu-west-1"
) -> SESSimulator:
    """SES as it is to an account with these keys and no other."""
    simulator = await stack.enter_async_context(SESSimulator(SESAccount(region)))
    simulator.account.secrets = dict(secrets)
    simulator.account.add_domain(SENDING_DOMAIN)
    return simulator


def open_account(
    stack: AsyncExitStack, key_id: str, secret: str, endpoint: str, region: str = "eu-west-1"
) -> Provider:
    """A tenant's account."""
    settings = SESTenantSettings(
        region=region, access_key_id=key_id, secret_access_key=Secret(secret)
    )
    provider = create_tenant_account(
        "ses",
        settings,
        f"account-of-{key_id}",
        EgressRules(),
        {"ses": endpoint},
        owner=f"owner-of-{key_id}",
    )
    stack.push_async_callback(provider.close)
    return provider


async def send(provider: Provider) -> Outcome:
    """What becomes of one email."""
    return (await provider.send(make_email(), IN_TIME_S)).recipients[0].outcome


async def test_each_account_signs_with_its_own_key_alone(stack: AsyncExitStack) -> None:
    # Each simulator knows one key, and verifies what is signed with it.
    simulators = {key_id: await start_ses(stack, {key_id: KEYS[key_id]}) for key_id in KEYS}
    accounts = [
        open_account(stack, key_id, secret, simulators[key_id].url)
        for key_id, secret in KEYS.items()
    ]
    rounds = await asyncio.gather(*(send(account) for _ in range(5) for account in accounts))
    assert rounds == [Outcome.ACCEPTED] * 5 * len(KEYS)
    assert [len(simulator.messages) for simulator in simulators.values()] == [5] * len(KEYS)
    # At each other's SES none of them is known.
    first, *others = simulators.values()
    strangers = [
        open_account(stack, key_id, secret, first.url) for key_id, secret in list(KEYS.items())[1:]
    ]
    assert [await send(stranger) for stranger in strangers] == [Outcome.SUSPENDED] * len(others)
    assert len(first.messages) == 5


async def test_each_account_signs_for_its_own_region(stack: AsyncExitStack) -> None:
    key_id, secret = next(iter(KEYS.items()))
    accounts = []
    for region in ("eu-west-1", "us-east-1"):
        simulator = await start_ses(stack, {key_id: secret}, region)
        accounts.append(open_account(stack, key_id, secret, simulator.url, region))
    outcomes = await asyncio.gather(*(send(account) for _ in range(2) for account in accounts))
    assert outcomes == [Outcome.ACCEPTED] * 4


async def test_wrong_secret_is_not_made_good_by_the_right_one_of_another_account(
    stack: AsyncExitStack,
) -> None:
    key_id, secret = next(iter(KEYS.items()))
    simulator = await start_ses(stack, {key_id: secret})
    right = open_account(stack, key_id, secret, simulator.url)
    wrong = open_account(stack, key_id, "secret/that/is/none", simulator.url)
    outcomes = [await send(account) for account in (right, wrong, right, wrong)]
    assert outcomes == [Outcome.ACCEPTED, Outcome.SUSPENDED] * 2


async def test_platform_and_tenants_never_use_each_others_credentials(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id, secret = next(iter(KEYS.items()))
    of_tenant = await start_ses(stack, {key_id: secret})
    of_platform = await start_ses(stack, dict([PLATFORM_KEY]))

    def open_platform() -> SESProvider:
        settings = SESSettings(region="eu-west-1", endpoint=of_platform.url)
        provider = SESProvider(settings, "ses")
        stack.push_async_callback(provider.close)
        return provider

    tenant = open_account(stack, key_id, secret, of_tenant.url)
    assert await send(tenant) is Outcome.ACCEPTED
    # Nothing is set for the platform: what a tenant gave does not serve it.
    lost = open_platform()
    assert await send(lost) is Outcome.SUSPENDED
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", PLATFORM_KEY[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PLATFORM_KEY[1])
    assert await send(open_platform()) is Outcome.ACCEPTED
    later = open_account(stack, key_id, secret, of_tenant.url)
    assert await send(later) is Outcome.ACCEPTED
    # A tenant's account at the platform's SES is a stranger there.
    assert await send(open_account(stack, key_id, secret, of_platform.url)) is Outcome.SUSPENDED
    assert [len(of_tenant.messages), len(of_platform.messages)] == [2, 1]
