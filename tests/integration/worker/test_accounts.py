"""Accounts come from the names in the settings; one that cannot be used is named."""

from pathlib import Path

import pytest

from tallypost_core.settings import SettingsError
from tallypost_providers.account_settings import load_worker
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.inbox import InboxProvider
from tallypost_providers.sendgrid import SendGridProvider
from tallypost_providers.ses import SESProvider
from tallypost_providers.smtp import SMTPProvider
from tallypost_providers.types import Provider
from tallypost_worker.accounts import create_accounts
from tests.support.database import Database
from tests.support.plugins import Plugins
from tests.support.worker import worker_environment


async def _accounts(database: Database, folder: Path, **overrides: str) -> tuple[Provider, ...]:
    environment = worker_environment(
        database,
        redis_url="redis://127.0.0.1:6379/0",
        objects=folder,
        smtp_port=2525,
        **overrides,
    )
    async with database.pool("tp_deliver", size=1) as pool:
        return create_accounts(load_worker(environment), pool)


async def test_named_providers_come_first_and_the_inbox_is_always_there(
    database: Database, tmp_path: Path
) -> None:
    for overrides in ({}, {"TALLYPOST_PROVIDERS": "smtp"}):
        relay, inbox = await _accounts(database, tmp_path, **overrides)
        assert isinstance(relay, SMTPProvider)
        assert isinstance(inbox, InboxProvider)
        assert (relay.account, inbox.account) == ("smtp", "inbox")


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("sntp", r"TALLYPOST_PROVIDERS.*'sntp'.*not installed"),
        ("database", r"TALLYPOST_PROVIDERS.*'database'.*not installed"),
        ("smtp,inbox", r"TALLYPOST_PROVIDERS.*'inbox'.*may name: .*smtp"),
        ("ses", "TALLYPOST_SES_REGION is missing"),
        ("sendgrid", "TALLYPOST_SENDGRID_API_KEY is missing"),
    ],
)
async def test_name_that_cannot_be_used_is_refused_beside_the_variable(
    database: Database, tmp_path: Path, names: str, wanted: str
) -> None:
    with pytest.raises((ProviderMisconfigured, SettingsError), match=wanted):
        await _accounts(database, tmp_path, TALLYPOST_PROVIDERS=names)


async def test_ses_is_an_account_beside_the_relay(database: Database, tmp_path: Path) -> None:
    chosen = {"TALLYPOST_PROVIDERS": "ses,smtp", "TALLYPOST_SES_REGION": "eu-west-1"}
    first, relay, inbox = await _accounts(database, tmp_path, **chosen)
    assert isinstance(first, SESProvider)
    assert (first.account, relay.account, inbox.account) == ("ses", "smtp", "inbox")


async def test_sendgrid_is_an_account_beside_the_relay(database: Database, tmp_path: Path) -> None:
    chosen = {"TALLYPOST_PROVIDERS": "sendgrid,smtp", "TALLYPOST_SENDGRID_API_KEY": "SG.sample.key"}
    first, relay, inbox = await _accounts(database, tmp_path, **chosen)
    assert isinstance(first, SendGridProvider)
    assert (first.account, relay.account, inbox.account) == ("sendgrid", "smtp", "inbox")


async def test_plugin_is_an_account_with_its_own_settings(
    database: Database, tmp_path: Path, plugins: Plugins
) -> None:
    plugins.install()
    chosen = {"TALLYPOST_PROVIDERS": "pigeon,smtp", "TALLYPOST_PIGEON_LOFT": "home"}
    first, relay, inbox = await _accounts(database, tmp_path, **chosen)
    assert (first.account, relay.account, inbox.account) == ("pigeon", "smtp", "inbox")
    assert first.kept.loft == "home"  # type: ignore[attr-defined]  # The plugin's own.
