"""Accounts come from the names in the settings; one that cannot be used is named."""

import sys
from pathlib import Path

import pytest

from tallypost_core.settings.apps import WorkerSettings, load
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.inbox import InboxProvider
from tallypost_providers.sendgrid import SendGridProvider
from tallypost_providers.ses import SESProvider
from tallypost_providers.smtp import SMTPProvider
from tallypost_providers.types import Provider
from tallypost_worker.accounts import create_accounts
from tests.support.database import Database
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
        return create_accounts(load(WorkerSettings, environment), pool)


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
        ("smtp,inbox", r"TALLYPOST_PROVIDERS.*'inbox'.*may name: .*smtp"),
        ("ses", "TALLYPOST_SES_REGION is missing"),
        ("sendgrid", "TALLYPOST_SENDGRID_API_KEY is missing"),
    ],
)
async def test_name_that_cannot_be_used_is_refused_beside_the_variable(
    database: Database, tmp_path: Path, names: str, wanted: str
) -> None:
    with pytest.raises(ProviderMisconfigured, match=wanted):
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


async def test_provider_of_another_distribution_is_refused_so_far(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "pigeon_post-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon-post\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[tallypost.providers]\npigeon = pigeon_post:Pigeon\n"
    )
    (tmp_path / "pigeon_post.py").write_text("class Pigeon: ...\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ProviderMisconfigured, match=r"TALLYPOST_PROVIDERS.*'pigeon'.*settings"):
        await _accounts(database, tmp_path, TALLYPOST_PROVIDERS="pigeon")
