"""Where providers come from, and which settings they refuse."""

import re
from typing import get_type_hints

import msgspec
import pytest

from tallypost_core.settings.apps import WorkerSettings
from tallypost_core.settings.loader import Secret
from tallypost_core.settings.providers import SMTPSettings
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.inbox import InboxProvider
from tallypost_providers.registry import (
    create_account,
    get_provider_class,
    get_settings_struct,
    list_provider_names,
)
from tallypost_providers.smtp import SMTPProvider
from tests.support.plugins import PIGEON, Plugins


def test_installed_providers_are_found_by_name() -> None:
    assert {"inbox", "smtp"} <= set(list_provider_names())
    assert get_provider_class("smtp") is SMTPProvider
    assert get_provider_class("inbox") is InboxProvider


def test_unknown_provider_is_named_beside_the_known_ones() -> None:
    with pytest.raises(ProviderMisconfigured, match=r"'sntp'.*inbox.*smtp"):
        get_provider_class("sntp")


def test_another_distribution_adds_a_provider_without_a_change_here(plugins: Plugins) -> None:
    plugins.install()
    settings = get_settings_struct("pigeon")
    assert get_provider_class("pigeon").__name__ == "Pigeon"
    assert settings.__name__ == "PigeonSettings"
    account = create_account("pigeon", msgspec.convert({"loft": "home"}, settings))
    assert (account.name, account.account) == ("pigeon", "pigeon")


def test_provider_that_cannot_be_imported_says_where_it_should_be(plugins: Plugins) -> None:
    plugins.install(source=None, value="no_such_module_here:Broken")
    with pytest.raises(ProviderMisconfigured, match=r"pigeon-post 1.*no_such_module_here:Broken"):
        get_provider_class("pigeon")


@pytest.mark.parametrize("source", ["1 / 0", "class Pigeon", "Dove = 1", "import sys\nsys.exit(0)"])
def test_module_that_breaks_while_it_is_imported_is_named(plugins: Plugins, source: str) -> None:
    plugins.install(source=source)
    with pytest.raises(ProviderMisconfigured, match=r"'pigeon'.*pigeon_post:Pigeon"):
        get_provider_class("pigeon")


def test_name_that_two_distributions_claim_is_refused(plugins: Plugins) -> None:
    plugins.install("twice", None, distribution="one-post", value="one:One")
    plugins.install("twice", None, distribution="two-post", value="two:Two")
    with pytest.raises(ProviderMisconfigured, match=r"'twice'.*one-post.*two-post"):
        get_provider_class("twice")


@pytest.mark.parametrize("name", ["redis", "local", "port", "smtp_relay", "Pigeon", "pi-geon"])
def test_name_whose_variables_would_mix_with_ours_is_refused(plugins: Plugins, name: str) -> None:
    plugins.install(name, PIGEON.replace('"pigeon"', f'"{name}"'))
    with pytest.raises(ProviderMisconfigured, match=rf"'{name}' of pigeon-post 1\.0"):
        get_provider_class(name)


@pytest.mark.parametrize(
    ("kept", "instead", "fault"),
    [
        ('name = "pigeon"', 'name = "dove"', "its name is 'dove'"),
        ('    name = "pigeon"\n', "", "its name is None"),
        ("async def send", "def send", "`async def send`"),
        ("async def send", "async def sends", "`async def send`"),
        ("async def close", "def close", "`async def close`"),
        ("def find_obstacle", "async def find_obstacle", "`def find_obstacle`"),
        ("def find_obstacle", "def obstacle", "`def find_obstacle`"),
        ("class Pigeon:", "def Pigeon(): ...\nclass Dove:", "no class"),
        ("settings = PigeonSettings", "", "no msgspec Struct"),
        ("settings = PigeonSettings", "settings = dict", "no msgspec Struct"),
        ("(Struct, frozen=True)", "(Struct)", "not frozen"),
        ('Meta(ge=1, description="Birds in it.")', "Meta(ge=1)", "birds has no Meta"),
        ("Annotated[int,", 'Annotated["Bird",', "cannot be read"),
        ("(self, settings, account)", "(self, settings)", "constructor does not take"),
    ],
)
def test_class_that_breaks_the_contract_is_refused_with_what_is_wrong(
    plugins: Plugins, kept: str, instead: str, fault: str
) -> None:
    assert kept in PIGEON
    plugins.install(source=PIGEON.replace(kept, instead))
    with pytest.raises(ProviderMisconfigured, match=f"breaks the contract.*{re.escape(fault)}"):
        get_settings_struct("pigeon")


def test_everything_that_is_wrong_with_a_class_is_told_at_once(plugins: Plugins) -> None:
    plugins.install(source="class Pigeon: ...")
    with pytest.raises(ProviderMisconfigured, match=r"name.*send.*close.*find_obstacle"):
        get_provider_class("pigeon")


@pytest.mark.parametrize(
    ("kept", "instead", "fault"),
    [
        ("self.account = account", "", "does not keep `account`"),
        ("rate_per_s = None", "rate_per_s = 0", "`rate_per_s`"),
        ("rate_per_s = None", "", "`rate_per_s`"),
        ("capabilities = Capabilities(", "powers = Capabilities(", "no Capabilities"),
        ("lookup=False", "lookup=True", "no `async def look_up`"),
        # It would get test mail.
        ("reaches_outside=True", "reaches_outside=False", "only the Inbox"),
        ("rate_per_s = None", "rate_per_s = None; ensure_domain = 1", "`ensure_domain` is no"),
        (
            "    async def send",
            "    def ensure_domain(self, domain): ...\n\n    async def send",
            "`ensure_domain` is no",
        ),
        (
            "rate_per_s = None",
            "rate_per_s = None; connections_per_domain = 0",
            "`connections_per_domain`",
        ),
        (
            "rate_per_s = None",
            "rate_per_s = None; connections_per_domain = '2'",
            "`connections_per_domain`",
        ),
        (
            "rate_per_s = None",
            "rate_per_s = None; connections_per_domain = True",
            "`connections_per_domain`",
        ),
    ],
)
def test_account_that_is_not_as_it_has_to_be_is_refused(
    plugins: Plugins, kept: str, instead: str, fault: str
) -> None:
    assert kept in PIGEON
    plugins.install(source=PIGEON.replace(kept, instead))
    settings = msgspec.convert({"loft": "home"}, get_settings_struct("pigeon"))
    with pytest.raises(ProviderMisconfigured, match=fault):
        create_account("pigeon", settings)


@pytest.mark.parametrize("limit", ["2", "None"])
def test_account_may_know_domains_and_spare_receivers(plugins: Plugins, limit: str) -> None:
    source = PIGEON.replace(
        "rate_per_s = None", f"rate_per_s = None; connections_per_domain = {limit}"
    )
    source += "\n    async def ensure_domain(self, domain): ...\n"
    plugins.install(source=source)
    settings = msgspec.convert({"loft": "home"}, get_settings_struct("pigeon"))
    assert create_account("pigeon", settings).account == "pigeon"


@pytest.mark.parametrize("name", ["smtp", "ses", "sendgrid"])
def test_our_providers_are_made_with_the_group_that_the_worker_reads(name: str) -> None:
    assert get_settings_struct(name) is get_type_hints(WorkerSettings)[name]


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        (SMTPSettings(), "TALLYPOST_SMTP_HOST"),
        (SMTPSettings(host="  "), "TALLYPOST_SMTP_HOST"),
        (SMTPSettings(host="x" * 70 + ".example.com"), "TALLYPOST_SMTP_HOST"),
        (SMTPSettings(host="a.example.com", username="u"), "TALLYPOST_SMTP_PASSWORD"),
        (SMTPSettings(host="a.example.com", password=Secret("p")), "TALLYPOST_SMTP_USERNAME"),
        (
            SMTPSettings(host="a.example.com", username="u", password=Secret("p"), security="none"),
            "TALLYPOST_SMTP_SECURITY",
        ),
    ],
)
def test_wrong_settings_name_the_variable_before_anything_is_sent(
    settings: SMTPSettings, variable: str
) -> None:
    with pytest.raises(ProviderMisconfigured, match=variable) as caught:
        SMTPProvider(settings, "main")
    assert "'p'" not in str(caught.value)
