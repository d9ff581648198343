"""What the SendGrid provider asks of the account beside sending: domains, and the activity feed."""

from collections.abc import AsyncIterator

import pytest

from tallypost_core.ids import new_id
from tallypost_core.settings.loader import Secret
from tallypost_core.settings.providers import SendGridSettings
from tallypost_providers.errors import (
    DomainNotChecked,
    LookUpFailed,
    LookUpRefused,
    ProviderBusy,
    ProviderMisconfigured,
)
from tallypost_providers.provider_domains import ProviderDomain
from tallypost_providers.sendgrid import SendGridProvider
from tallypost_providers.sendgrid_api import address_of
from tallypost_providers.types import Outcome
from tallypost_simulators.http_faults import HTTPFault
from tallypost_simulators.sendgrid_account import API_KEY, RateLimit
from tallypost_simulators.sendgrid_server import SendGridSimulator
from tests.support.sendgrid import make_provider, sendgrid_stage
from tests.unit.providers.emails import make_dkim_key, make_email, make_recipient

IN_TIME_S = 10.0
SHORT_S = 1.0
DOMAIN = ProviderDomain(name="mail.example.org", dkim_keys=(make_dkim_key("rsa-sha256"),))
Stage = tuple[SendGridSimulator, SendGridProvider]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A simulator and a provider that speaks to it."""
    async with sendgrid_stage() as both:
        yield both


async def test_new_domain_wants_its_three_records(stage: Stage) -> None:
    _, provider = stage
    standing = await provider.ensure_domain(DOMAIN)
    assert not standing.is_verified
    assert [(record.type, record.is_found) for record in standing.records] == [("CNAME", False)] * 3
    assert {record.name for record in standing.records} >= {
        "s1._domainkey.mail.example.org",
        "s2._domainkey.mail.example.org",
    }
    assert all(record.value.endswith("sendgrid.net") for record in standing.records)
    assert "mail.example.org" in standing.detail


async def test_domain_is_registered_once_and_may_send_once_its_records_are_there(
    stage: Stage,
) -> None:
    simulator, provider = stage
    await provider.ensure_domain(DOMAIN)
    simulator.domains.publish(DOMAIN.name, ["dkim1"])
    half = await provider.ensure_domain(DOMAIN)
    assert (half.is_verified, [record.is_found for record in half.records]) == (
        False,
        [False, True, False],
    )
    simulator.domains.publish(DOMAIN.name)
    whole = await provider.ensure_domain(DOMAIN)
    assert whole.is_verified
    assert await provider.ensure_domain(DOMAIN) == whole
    ours = [entry for entry in simulator.domains.entries.values() if entry.domain == DOMAIN.name]
    assert len(ours) == 1
    email = make_email(from_header=f"hello@{DOMAIN.name}")
    result = await provider.send(email, IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED


async def test_domain_is_not_mistaken_for_one_that_contains_its_name(stage: Stage) -> None:
    simulator, provider = stage
    for number in range(120):
        simulator.domains.add_verified(f"s{number}.{DOMAIN.name}")
    assert not (await provider.ensure_domain(DOMAIN)).is_verified
    await provider.ensure_domain(DOMAIN)
    assert len(simulator.domains.entries) == 122


async def test_entry_that_is_verified_counts_where_a_domain_has_several(stage: Stage) -> None:
    simulator, provider = stage
    await provider.ensure_domain(DOMAIN)
    simulator.domains.add_verified(DOMAIN.name)
    simulator.domains.publish(DOMAIN.name, [])
    assert (await provider.ensure_domain(DOMAIN)).is_verified
    assert len(simulator.domains.entries) == 3


async def test_domain_that_sendgrid_does_not_take_is_told_with_its_words(stage: Stage) -> None:
    _, provider = stage
    standing = await provider.ensure_domain(ProviderDomain(name="localhost", dkim_keys=()))
    assert (standing.is_verified, standing.records) == (False, ())
    assert "Domain is invalid" in standing.detail


async def test_account_that_does_not_say_leaves_the_domain_as_it_was(stage: Stage) -> None:
    simulator, provider = stage
    simulator.account.scopes.discard("whitelabel.read")
    with pytest.raises(DomainNotChecked, match="403"):
        await provider.ensure_domain(DOMAIN)
    simulator.account.scopes.add("whitelabel.read")
    simulator.account.rate_limit = RateLimit(requests=0, period_s=3600.0)
    with pytest.raises(DomainNotChecked, match="429"):
        await provider.ensure_domain(DOMAIN)
    await simulator.stop()
    with pytest.raises(DomainNotChecked):
        await provider.ensure_domain(DOMAIN)


async def test_email_whose_answer_was_lost_is_found(stage: Stage) -> None:
    simulator, provider = stage
    email = make_email(
        recipients=(make_recipient("ada@example.net"), make_recipient("eve@hidden.test", "bcc"))
    )
    simulator.faults.replace(HTTPFault(action="drop", times=1))
    result = await provider.send(email, SHORT_S)
    assert result.recipients[0].outcome is Outcome.AMBIGUOUS
    await provider.send(make_email(), IN_TIME_S)
    found = await provider.look_up(email.email_id)
    assert [(item.address, item.status) for item in found] == [
        ("ada@example.net", "processed"),
        ("eve@hidden.test", "processed"),
    ]
    assert found[0].provider_message_id.startswith(simulator.messages[0].message_id)


async def test_email_that_the_feed_does_not_know_stays_unknown(stage: Stage) -> None:
    _, provider = stage
    assert await provider.look_up(new_id()) == ()


async def test_feed_that_cannot_be_asked_is_no_evidence(stage: Stage) -> None:
    simulator, provider = stage
    simulator.account.has_activity = False
    with pytest.raises(LookUpRefused, match="403"):
        await provider.look_up(new_id())
    simulator.account.has_activity = True
    simulator.account.is_activity_down = True
    with pytest.raises(LookUpFailed, match="503") as caught:
        await provider.look_up(new_id())
    assert not isinstance(caught.value, LookUpRefused)
    simulator.account.is_activity_down = False
    simulator.account.activity_rate_limit = RateLimit(requests=0, period_s=60.0)
    with pytest.raises(LookUpFailed, match="429") as caught:
        await provider.look_up(new_id())
    assert caught.value.retry_after_s is not None
    assert not isinstance(caught.value, LookUpRefused)
    await simulator.stop()
    with pytest.raises(LookUpFailed):
        await provider.look_up(new_id())


async def test_feed_is_asked_only_where_the_setting_says_so(stage: Stage) -> None:
    simulator, provider = stage
    assert provider.capabilities.lookup
    other = make_provider(simulator.url, activity_lookup=False)
    assert not other.capabilities.lookup
    with pytest.raises(ProviderMisconfigured, match="TALLYPOST_SENDGRID_ACTIVITY_LOOKUP"):
        await other.look_up(new_id())
    await other.close()


async def test_closed_provider_asks_nothing(stage: Stage) -> None:
    _, provider = stage
    await provider.close()
    with pytest.raises(ProviderBusy):
        await provider.ensure_domain(DOMAIN)
    with pytest.raises(ProviderBusy):
        await provider.look_up(new_id())


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        (SendGridSettings(), "TALLYPOST_SENDGRID_API_KEY is missing"),
        (SendGridSettings(api_key=Secret("  ")), "TALLYPOST_SENDGRID_API_KEY is missing"),
        (SendGridSettings(api_key=Secret("SG.a\nb")), "TALLYPOST_SENDGRID_API_KEY"),
        (
            SendGridSettings(api_key=Secret(API_KEY), endpoint="http://api.example.com"),
            "TALLYPOST_SENDGRID_ENDPOINT.*https",
        ),
        (
            SendGridSettings(api_key=Secret(API_KEY), endpoint="https://127.0.0.1:x"),
            "TALLYPOST_SENDGRID_ENDPOINT",
        ),
        (
            SendGridSettings(api_key=Secret(API_KEY), endpoint="api.sendgrid.com"),
            "TALLYPOST_SENDGRID_ENDPOINT",
        ),
    ],
)
def test_wrong_settings_name_the_variable_before_anything_is_sent(
    settings: SendGridSettings, variable: str
) -> None:
    with pytest.raises(ProviderMisconfigured, match=variable) as caught:
        SendGridProvider(settings, "main")
    assert "SG." not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (SendGridSettings(), ("api.sendgrid.com", 443)),
        (SendGridSettings(region="eu"), ("api.eu.sendgrid.com", 443)),
        (SendGridSettings(region="eu", endpoint="http://127.0.0.1:8025/"), ("127.0.0.1", 8025)),
    ],
)
def test_region_decides_where_the_api_is_unless_an_address_does(
    settings: SendGridSettings, address: tuple[str, int]
) -> None:
    assert address_of(settings) == address
