"""The demo stays on this machine."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tallypost_cli.demo.refusals import is_loopback, refuse_elsewhere, refuse_routes
from tallypost_cli.errors import StartUpError
from tallypost_cli.sample_access import SampleAccess, TenantAccess
from tallypost_core.settings.apps import APP_SETTINGS
from tallypost_core.settings.loader import list_variables


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@127.0.0.1:5432/db",
        "postgresql://u:p@localhost/db?sslmode=disable",
        "postgresql://u:p@[::1]:5432/db",
        "postgresql:///db?host=/var/run/postgresql",
        "redis://:p@127.0.0.1:6379/0",
    ],
)
def test_addresses_of_this_machine_are_recognised(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@db.example.com/db",
        "postgresql://u:p@10.0.0.5/db",
        "postgresql://u:p@127.0.0.1/db?host=db.example.com",
        "postgresql://u:p@127.0.0.1,db.example.com/db",
        "postgresql://u:p@localhost.example.com/db",
        "redis://0.0.0.0:6379/0",
        "redis:///0",
        "nonsense",
    ],
)
def test_every_other_address_is_elsewhere(url: str) -> None:
    assert not is_loopback(url)


def test_all_settings_that_lead_away_are_named_at_once_without_their_values(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://u:hidden@db.example.com/db\n")
    environ = {
        "TALLYPOST_DATABASE_OWNER_URL": "postgresql://u:hidden@db.example.com/db",
        "TALLYPOST_DATABASE_API_URL_FILE": str(file),
        "TALLYPOST_NOTIFICATIONS_URL": "postgresql://u:hidden@db.example.com/db",
        "TALLYPOST_REDIS_URL": "redis://cache.example.com/0",
        "TALLYPOST_SMTP_HOST": "smtp.example.com",
        "TALLYPOST_PROVIDERS": "smtp",
        "TALLYPOST_SUBSCRIBERS": "hidden",
        "TALLYPOST_SES_ENDPOINT": "https://hidden.example.com",
        "TALLYPOST_API_HOST": "192.0.2.1",
        "TALLYPOST_OBJECTS_URL": "s3://hidden/prefix",
        "TALLYPOST_TRACING_ENDPOINT": "https://hidden.example.com",
    }
    with pytest.raises(StartUpError) as refused:
        refuse_elsewhere(environ)
    for name in environ:
        assert name in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_nothing_set_and_servers_on_this_machine_are_fine() -> None:
    refuse_elsewhere({})
    refuse_elsewhere(
        {
            "TALLYPOST_DATABASE_OWNER_URL": "postgresql://u:p@127.0.0.1/db",
            "TALLYPOST_REDIS_URL": "redis://localhost:6379/0",
            "TALLYPOST_API_HOST": "127.0.0.1",
            "TALLYPOST_CONSOLE_HOST": "localhost",
            "TALLYPOST_WORKER_HOST": "::1",
            "TALLYPOST_OBJECTS_URL": "file:///folder",
            "TALLYPOST_TRACING_ENDPOINT": "http://localhost:4318/v1/traces",
            "TALLYPOST_SMTP_HOST": "",
            "TALLYPOST_SUBSCRIBERS": "",
        }
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TALLYPOST_API_HOST", "0.0.0.0"),  # noqa: S104 bound by nobody here
        ("TALLYPOST_API_HOST", "::1"),
        ("TALLYPOST_CONSOLE_HOST", "0.0.0.0"),  # noqa: S104 bound by nobody here
        ("TALLYPOST_TEMPLATES_HOST", "::"),
        ("TALLYPOST_BILLING_HOST", "192.0.2.1"),
        ("TALLYPOST_WORKER_HOST", "mail.example.com"),
        ("TALLYPOST_BOUNCES_HOST", "10.0.0.5"),
        ("TALLYPOST_INBOX_HOST", "0.0.0.0"),  # noqa: S104 bound by nobody here
        ("TALLYPOST_SUBSCRIBERS", "ledger"),
        ("TALLYPOST_OBJECTS_URL", "s3://bucket/prefix"),
        ("TALLYPOST_OBJECTS_URL", "S3://bucket"),
        ("TALLYPOST_TRACING_ENDPOINT", "https://collector.example.com"),
        ("TALLYPOST_TRACING_ENDPOINT", "http://[::1"),
    ],
)
def test_each_setting_that_leads_away_is_enough_to_refuse(name: str, value: str) -> None:
    with pytest.raises(StartUpError, match=name):
        refuse_elsewhere({name: value})


def test_every_listener_of_every_app_is_looked_at() -> None:
    listeners = {
        variable.name
        for struct in APP_SETTINGS.values()
        for variable in list_variables(struct)
        if variable.name.endswith("_HOST")
    }
    with pytest.raises(StartUpError) as refused:
        refuse_elsewhere(dict.fromkeys(listeners, "0.0.0.0"))  # noqa: S104 bound by nobody here
    for name in listeners:
        assert name in str(refused.value)


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(StartUpError, match="TALLYPOST_REDIS_URL_FILE"):
        refuse_elsewhere({"TALLYPOST_REDIS_URL_FILE": "/nowhere/url"})


async def refuse(routes: Mapping[str, int]) -> None:
    """Judge sample tenants that have so many routes, by their keys."""

    async def count(key: str) -> int:
        return routes[key]

    def tenant(name: str) -> TenantAccess:
        return TenantAccess(f"owner@{name}.example", "hidden", name, "hidden", f"hi@{name}.example")

    access = SampleAccess(tenant("first"), tenant("second"), "operator@example.net", "hidden")
    await refuse_routes(access, count)


async def test_sample_tenants_without_routes_are_fine() -> None:
    await refuse({"first": 0, "second": 0})


@pytest.mark.parametrize(
    ("routes", "owners"),
    [
        ({"first": 2, "second": 0}, ["owner@first.example: 2"]),
        ({"first": 0, "second": 1}, ["owner@second.example: 1"]),
        ({"first": 2, "second": 1}, ["owner@first.example: 2", "owner@second.example: 1"]),
    ],
)
async def test_routes_of_either_sample_tenant_are_refused_with_their_owner(
    routes: Mapping[str, int], owners: list[str]
) -> None:
    with pytest.raises(StartUpError) as refused:
        await refuse(routes)
    told = str(refused.value)
    assert [line.strip() for line in told.splitlines() if ".example" in line] == owners
    assert "may be a real account" in told
    assert "delete them under Providers, Routes" in told
    assert "hidden" not in told
