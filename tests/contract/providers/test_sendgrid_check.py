"""A check of an account at SendGrid asks what its key may do, and sends nothing."""

from collections.abc import AsyncIterator, Sequence

import pytest

from tallypost_core.settings.loader import Secret
from tallypost_providers.account_checks import CheckStep
from tallypost_providers.errors import ProviderBusy
from tallypost_providers.sendgrid import SendGridProvider
from tallypost_providers.tenant_accounts import SendGridTenantSettings, create_tenant_account
from tallypost_providers.types import Outcome
from tallypost_resilience.egress_rules import EgressRules
from tallypost_simulators.http_faults import HTTPFault, HTTPFaults
from tallypost_simulators.sendgrid_account import API_KEY, RateLimit
from tallypost_simulators.sendgrid_server import SendGridSimulator
from tests.support.sendgrid import make_provider, sendgrid_stage
from tests.unit.providers.emails import make_email

IN_TIME_S = 10.0
SHORT_S = 1.0
STEPS = [
    "reach SendGrid",
    "accept the key",
    "allow sending",
    "allow domains to be authenticated",
    "allow the activity feed to be asked",
]
Stage = tuple[SendGridSimulator, SendGridProvider]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A simulator and a provider that speaks to it."""
    async with sendgrid_stage() as both:
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
    assert API_KEY not in repr(steps)


async def test_account_in_order_passes_every_step_and_gets_no_mail(stage: Stage) -> None:
    simulator, provider = stage
    steps = await provider.check(IN_TIME_S)
    assert [step.name for step in steps] == STEPS
    assert states(steps) == ["good"] * 5
    assert simulator.messages == []


async def test_account_of_a_tenant_is_checked_and_sends_at_the_operators_endpoint(
    stage: Stage,
) -> None:
    simulator, _ = stage
    settings = SendGridTenantSettings(api_key=Secret(API_KEY))
    endpoints = {"sendgrid": simulator.url}
    provider = create_tenant_account(
        "sendgrid", settings, "account-1", EgressRules(), endpoints, owner="tenant-1"
    )
    assert isinstance(provider, SendGridProvider)
    steps = await provider.check(IN_TIME_S)
    result = await provider.send(make_email(), IN_TIME_S)
    await provider.close()
    # The feed is not asked unless the tenant says so.
    assert [step.name for step in steps] == STEPS[:4]
    assert states(steps) == ["good"] * 4
    assert result.recipients[0].outcome is Outcome.ACCEPTED
    assert len(simulator.messages) == 1


async def test_key_that_is_wrong_is_told_in_the_words_of_sendgrid(stage: Stage) -> None:
    simulator, provider = stage
    other = make_provider(simulator.url, key="SG.another.key")
    steps = await other.check(IN_TIME_S)
    await other.close()
    assert_failed(steps, "accept the key", "invalid, expired, or revoked")
    assert "SG.another.key" not in repr(steps)
    simulator.account.is_suspended = True
    assert_failed(await provider.check(IN_TIME_S), "accept the key", "access forbidden")


async def test_key_without_mail_send_fails_there(stage: Stage) -> None:
    simulator, provider = stage
    simulator.account.scopes.discard("mail.send")
    assert_failed(await provider.check(IN_TIME_S), "allow sending", "mail.send")


@pytest.mark.parametrize(
    "scope", ["whitelabel.create", "whitelabel.read", "whitelabel.update", "email_activity.read"]
)
async def test_scope_that_mail_goes_without_is_warned_about(scope: str, stage: Stage) -> None:
    simulator, provider = stage
    simulator.account.scopes.discard(scope)
    steps = await provider.check(IN_TIME_S)
    (warned,) = (step for step in steps if step.state != "good")
    assert (warned.state, scope in warned.detail) == ("warning", True)
    assert warned.name == STEPS[4 if scope == "email_activity.read" else 3]


class FaultySendGrid(SendGridSimulator):
    """Its faults are for every request, not for Mail Send alone."""

    def __init__(self, *faults: HTTPFault) -> None:
        super().__init__(faults=HTTPFaults(*faults))
        self._is_faulty = lambda request: True


def says(status: int, body: bytes) -> HTTPFault:
    return HTTPFault(action="answer", status=status, body=body)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (says(200, b"<html>welcome"), "none of SendGrid's"),
        (says(200, b'{"scopes":"all"}'), "none of SendGrid's"),
        (says(401, b"<html>who are you"), "HTTP status 401"),
        (says(502, b"<html>gateway"), "HTTP status 502"),
        (says(503, b'{"errors":[{"message":"not available"}]}'), "503. not available"),
        (HTTPFault(action="answer", status=301, headers={"location": "/"}), "redirect"),
        (HTTPFault(action="garbage"), "no HTTP"),
        (HTTPFault(action="reset_before"), "the connection ended"),
        (HTTPFault(action="hang"), "no answer in time"),
    ],
)
async def test_what_is_no_word_of_sendgrid_about_the_key_is_not_reached(
    fault: HTTPFault, words: str
) -> None:
    async with FaultySendGrid(fault) as simulator:
        provider = make_provider(simulator.url)
        steps = await provider.check(SHORT_S if fault.action == "hang" else IN_TIME_S)
        await provider.close()
    assert_failed(steps, "reach SendGrid", words)


async def test_rate_limit_is_no_word_about_the_key(stage: Stage) -> None:
    simulator, provider = stage
    simulator.account.rate_limit = RateLimit(requests=0, period_s=60.0)
    assert_failed(await provider.check(IN_TIME_S), "reach SendGrid", "too many requests")


async def test_address_where_nobody_is_fails_at_the_first_step() -> None:
    async with SendGridSimulator() as simulator:
        endpoint = simulator.url
    provider = make_provider(endpoint)
    assert_failed(await provider.check(IN_TIME_S), "reach SendGrid", "no connection")
    await provider.close()
    with pytest.raises(ProviderBusy):
        await provider.check(IN_TIME_S)
