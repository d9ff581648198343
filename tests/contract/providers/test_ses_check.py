"""A check of an account at SES asks about it, tells what SES says, and sends nothing."""

from collections.abc import AsyncIterator, Sequence

import pytest

from tallypost_core.settings.loader import Secret
from tallypost_providers.account_checks import CheckStep
from tallypost_providers.errors import ProviderBusy
from tallypost_providers.ses import SESProvider
from tallypost_providers.tenant_accounts import SESTenantSettings, create_tenant_account
from tallypost_providers.types import Outcome
from tallypost_resilience.egress_rules import EgressRules
from tallypost_simulators.http_faults import HTTPFault, HTTPFaults
from tallypost_simulators.ses_account import ACCESS_KEY_ID, SECRET_ACCESS_KEY, ConfigurationSet
from tallypost_simulators.ses_simulator import SESSimulator
from tests.support.ses import SES, answer, make_settings, running_ses
from tests.unit.providers.emails import make_email

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

IN_TIME_S = 10.0
SHORT_S = 1.0
STEPS = ["reach Amazon SES", "accept the key", "allow sending", "be out of the sandbox"]


@pytest.fixture
async def ses() -> AsyncIterator[SES]:
    """SES with an account in order."""
    async with running_ses() as both:
        yield both


def states(steps: Sequence[CheckStep]) -> list[str]:
    return [step.state for step in steps]


def assert_failed(steps: Sequence[CheckStep], name: str, words: str) -> None:
    """The named step failed and said so, those before it are good, those after it not tried."""
    names = [step.name for step in steps]
    place = names.index(name)
    rest = len(names) - place - 1
    assert states(steps) == ["good"] * place + ["failed"] + ["not_tried"] * rest
    assert words in steps[place].detail
    assert SECRET_ACCESS_KEY not in repr(steps)


async def test_account_in_order_passes_every_step_and_gets_no_mail(ses: SES) -> None:
    steps = await ses.provider.check(IN_TIME_S)
    assert [step.name for step in steps] == STEPS
    assert states(steps) == ["good"] * 4
    assert steps[2].detail == "14000 emails a second, 50000 in 24 hours"
    ses.simulator.account.max_24_hour_send = -1
    steps = await ses.provider.check(IN_TIME_S)
    assert "any number in 24 hours" in steps[2].detail
    assert ses.simulator.messages == []


async def test_account_of_a_tenant_is_checked_and_sends_at_the_operators_endpoint(
    ses: SES,
) -> None:
    settings = SESTenantSettings(
        region="eu-west-1",
        access_key_id=ACCESS_KEY_ID,
        secret_access_key=Secret(SECRET_ACCESS_KEY),
    )
    endpoints = {"ses": ses.simulator.url}
    provider = create_tenant_account(
        "ses", settings, "account-1", EgressRules(), endpoints, owner="tenant-1"
    )
    assert isinstance(provider, SESProvider)
    steps = await provider.check(IN_TIME_S)
    result = await provider.send(make_email(), IN_TIME_S)
    await provider.close()
    assert states(steps) == ["good"] * 4
    assert result.recipients[0].outcome is Outcome.ACCEPTED
    assert len(ses.simulator.messages) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"access_key_id": "AKIAUNKNOWNTOANYBODY"}, "UnrecognizedClientException"),
        ({"secret_access_key": Secret("another/secret")}, "InvalidSignatureException"),
    ],
)
async def test_key_that_is_wrong_is_told_in_the_words_of_ses(
    wrong: dict[str, object], words: str, ses: SES
) -> None:
    provider = SESProvider(make_settings(endpoint=ses.simulator.url, **wrong), "account-1")
    steps = await provider.check(IN_TIME_S)
    await provider.close()
    assert_failed(steps, "accept the key", words)
    assert "another/secret" not in repr(steps)


async def test_key_that_is_expired_fails_as_a_key(ses: SES) -> None:
    ses.simulator.account.is_token_expired = True
    assert_failed(await ses.provider.check(IN_TIME_S), "accept the key", "ExpiredTokenException")


async def test_key_that_may_only_send_is_good_as_far_as_anybody_knows(ses: SES) -> None:
    ses.simulator.account.denied = {"GetAccount"}
    steps = await ses.provider.check(IN_TIME_S)
    assert states(steps) == ["good", "warning", "not_tried", "not_tried"]
    assert "ses:GetAccount" in steps[1].detail


async def test_account_that_is_paused_may_not_send(ses: SES) -> None:
    ses.simulator.account.is_paused = True
    assert_failed(await ses.provider.check(IN_TIME_S), "allow sending", "HEALTHY")
    ses.simulator.account.is_suspended = True
    assert_failed(await ses.provider.check(IN_TIME_S), "allow sending", "SHUTDOWN")


async def test_account_under_review_and_in_the_sandbox_is_warned_about(ses: SES) -> None:
    ses.simulator.account.is_under_review = True
    ses.simulator.account.is_in_sandbox = True
    steps = await ses.provider.check(IN_TIME_S)
    assert states(steps) == ["good", "good", "warning", "warning"]
    assert "PROBATION" in steps[2].detail
    assert "only verified recipients" in steps[3].detail


async def test_configuration_set_has_to_exist_and_to_send() -> None:
    async with running_ses(configuration_set="main") as ses:
        account, name = ses.simulator.account, "find the configuration set"
        steps = await ses.provider.check(IN_TIME_S)
        assert [step.name for step in steps] == [*STEPS, name]
        assert_failed(steps, name, "Configuration set <main> does not exist")
        account.configuration_sets["main"] = ConfigurationSet(name="main", is_sending_enabled=False)
        assert_failed(await ses.provider.check(IN_TIME_S), name, "Sending is off")
        account.configuration_sets["main"].is_sending_enabled = True
        assert states(await ses.provider.check(IN_TIME_S)) == ["good"] * 5
        account.denied = {"GetConfigurationSet"}
        steps = await ses.provider.check(IN_TIME_S)
        assert states(steps) == ["good"] * 4 + ["warning"]
        assert "ses:GetConfigurationSet" in steps[4].detail


class FaultySES(SESSimulator):
    """Its faults are for every request, not for SendEmail alone."""

    def __init__(self, *faults: HTTPFault) -> None:
        super().__init__(faults=HTTPFaults(*faults))
        self._is_faulty = lambda request: True


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (answer(503, "ServiceUnavailable", "later"), "ServiceUnavailable: later"),
        (answer(429, "TooManyRequestsException", "slowly"), "TooManyRequestsException: slowly"),
        (answer(404, "UnknownOperationException", "no SES"), "UnknownOperationException"),
        (HTTPFault(action="answer", status=502, body=b"<html>gateway"), "gateway"),
        (HTTPFault(action="garbage"), "ClientResponseError"),
        (HTTPFault(action="reset_before"), ""),
        # On a slow day the SDK itself takes what there is to connect.
        (HTTPFault(action="hang"), "in time"),
    ],
)
async def test_what_is_no_word_of_ses_about_the_key_is_not_reached(
    fault: HTTPFault, words: str
) -> None:
    async with FaultySES(fault) as simulator:
        provider = SESProvider(make_settings(endpoint=simulator.url), "account-1")
        steps = await provider.check(SHORT_S if fault.action == "hang" else IN_TIME_S)
        await provider.close()
    assert_failed(steps, "reach Amazon SES", words)
    assert steps[0].detail


async def test_address_where_nobody_is_fails_at_the_first_step() -> None:
    async with SESSimulator() as simulator:
        endpoint = simulator.url
    provider = SESProvider(make_settings(endpoint=endpoint), "account-1")
    assert_failed(await provider.check(IN_TIME_S), "reach Amazon SES", "Connect")
    await provider.close()
    with pytest.raises(ProviderBusy):
        await provider.check(IN_TIME_S)
