"""What an operator allows to tenants' accounts is judged at the start."""

import ipaddress

import pytest

from tallypost_core.settings.loader import SettingsError, load_settings
from tallypost_core.settings.tenant_accounts import TenantAccountsSettings

NAMES = ("ALLOWED_NETWORKS", "SES_ENDPOINT", "SENDGRID_ENDPOINT")


def load(**values: str) -> TenantAccountsSettings:
    environ = {f"TALLYPOST_{name}": value for name, value in values.items()}
    return load_settings(TenantAccountsSettings, environ, (TenantAccountsSettings,))


def test_nothing_is_allowed_and_nothing_replaced_unless_set() -> None:
    settings = load()
    assert (settings.networks, settings.endpoints) == ((), {})


def test_networks_and_endpoints_are_ready_for_use() -> None:
    settings = load(
        ALLOWED_NETWORKS="10.20.0.0/16, fd00:1::/48, 192.0.2.1",
        SES_ENDPOINT="http://127.0.0.1:1026",
        SENDGRID_ENDPOINT="https://proxy.example.com",
    )
    assert settings.networks == (
        ipaddress.ip_network("10.20.0.0/16"),
        ipaddress.ip_network("fd00:1::/48"),
        ipaddress.ip_network("192.0.2.1/32"),
    )
    assert settings.endpoints == {
        "ses": "http://127.0.0.1:1026",
        "sendgrid": "https://proxy.example.com",
    }


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ALLOWED_NETWORKS", "10.20.0.1/16", "such as 10.20.0.0/16"),
        ("ALLOWED_NETWORKS", "intranet", "such as 10.20.0.0/16"),
        ("SES_ENDPOINT", "ses.example.com", "starts with http"),
        ("SES_ENDPOINT", "http://ses.example.com", "https:// unless it is on loopback"),
        ("SENDGRID_ENDPOINT", "http://10.0.0.1", "https:// unless it is on loopback"),
        ("SENDGRID_ENDPOINT", "https://key@sendgrid.example", "no query, fragment or login"),
    ],
)
def test_what_means_nothing_stops_the_start(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**{name: value})
    (problem,) = caught.value.problems
    assert problem.startswith(f"TALLYPOST_{name}: ")
    assert told in problem
