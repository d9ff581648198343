"""Settings of an SES account are judged when the provider is made, by name."""

from functools import partial

import pytest
from msgspec import Struct

from tallypost_core.settings.loader import Secret, SettingsError, load_settings
from tallypost_core.settings.providers import SESSettings
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.ses import SESProvider
from tallypost_providers.ses_settings import address_of
from tests.support.ses import make_settings

ENDPOINT = "https://vpce-1.email.eu-west-1.vpce.amazonaws.com"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"region": None}, "TALLYPOST_SES_REGION"),
        ({"region": "Ireland"}, "TALLYPOST_SES_REGION"),
        ({"region": "eu-west-1.evil.example"}, "TALLYPOST_SES_REGION"),
        ({"secret_access_key": None}, "TALLYPOST_SES_SECRET_ACCESS_KEY"),
        ({"access_key_id": None}, "TALLYPOST_SES_ACCESS_KEY_ID"),
        ({"configuration_set": "two words"}, "TALLYPOST_SES_CONFIGURATION_SET"),
        ({"tenant_name": "x" * 65}, "TALLYPOST_SES_TENANT_NAME"),
        ({"endpoint": "email.eu-west-1.amazonaws.com"}, "TALLYPOST_SES_ENDPOINT"),
        ({"endpoint": "ftp://127.0.0.1"}, "TALLYPOST_SES_ENDPOINT"),
        ({"endpoint": "http://ses.internal"}, "TALLYPOST_SES_ENDPOINT.*plain text"),
        ({"endpoint": "https://key:secret@ses.internal"}, "TALLYPOST_SES_ENDPOINT"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(
    changes: dict[str, object], named: str
) -> None:
    with pytest.raises(ProviderMisconfigured, match=named):
        SESProvider(make_settings(**changes), "ses")


@pytest.mark.parametrize("region", ["us-east-1", "us-gov-west-1", "ap-southeast-2", "cn-north-1"])
def test_regions_of_every_kind_are_taken(region: str) -> None:
    SESProvider(make_settings(region=region), "ses")


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "fast"])
def test_rate_that_means_nothing_is_refused_by_name(rate: str) -> None:
    class Settings(Struct, frozen=True):
        ses: SESSettings = SESSettings()

    read = partial(load_settings, Settings, known_structs=(Settings,))
    assert read({"TALLYPOST_SES_RATE_PER_S": "14"}).ses.rate_per_s == 14.0
    with pytest.raises(SettingsError, match="TALLYPOST_SES_RATE_PER_S"):
        read({"TALLYPOST_SES_RATE_PER_S": rate})


def test_rate_is_that_of_the_settings() -> None:
    assert SESProvider(make_settings(rate_per_s=14.0), "ses").rate_per_s == 14.0
    assert SESProvider(make_settings(), "ses").rate_per_s is None


def test_secret_is_in_no_message_and_no_repr() -> None:
    settings = make_settings(secret_access_key=Secret("hush"), access_key_id=None)
    with pytest.raises(ProviderMisconfigured) as caught:
        SESProvider(settings, "ses")
    assert "hush" not in f"{caught.value!r}{settings!r}"


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (SESSettings(region="eu-west-1"), ("email.eu-west-1.amazonaws.com", 443)),
        (SESSettings(region="eu-west-1", endpoint=ENDPOINT), (ENDPOINT[8:], 443)),
        (SESSettings(region="eu-west-1", endpoint="http://[::1]:81"), ("::1", 81)),
        (SESSettings(region="eu-west-1", endpoint="http://localhost"), ("localhost", 80)),
    ],
)
def test_address_is_that_of_the_region_or_the_endpoint(
    settings: SESSettings, address: tuple[str, int]
) -> None:
    assert address_of(settings) == address
