"""Where providers come from, and which settings they refuse."""

import sys
from pathlib import Path

import pytest

from tallypost_core.settings.groups import SMTPSettings
from tallypost_core.settings.loader import Secret
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.inbox import InboxProvider
from tallypost_providers.registry import get_provider_class, list_provider_names
from tallypost_providers.smtp import SMTPProvider


def test_installed_providers_are_found_by_name() -> None:
    assert {"inbox", "smtp"} <= set(list_provider_names())
    assert get_provider_class("smtp") is SMTPProvider
    assert get_provider_class("inbox") is InboxProvider


def test_unknown_provider_is_named_beside_the_known_ones() -> None:
    with pytest.raises(ProviderMisconfigured, match=r"'sntp'.*inbox.*smtp"):
        get_provider_class("sntp")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path where a test may install distributions."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def install(folder: Path, distribution: str, name: str, value: str) -> None:
    metadata = folder / f"{distribution}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[tallypost.providers]\n{name} = {value}\n")


def test_another_distribution_adds_a_provider_without_a_change_here(installed: Path) -> None:
    (installed / "pigeon_post.py").write_text("class Pigeon: ...\n")
    install(installed, "pigeon-post", "pigeon", "pigeon_post:Pigeon")
    assert get_provider_class("pigeon").__name__ == "Pigeon"


def test_provider_that_cannot_be_imported_says_where_it_should_be(installed: Path) -> None:
    install(installed, "broken-post", "broken", "no_such_module_here:Broken")
    with pytest.raises(ProviderMisconfigured, match="no_such_module_here:Broken"):
        get_provider_class("broken")


def test_name_that_two_distributions_claim_is_refused(installed: Path) -> None:
    install(installed, "one-post", "twice", "one:One")
    install(installed, "two-post", "twice", "two:Two")
    with pytest.raises(ProviderMisconfigured, match="'twice'"):
        get_provider_class("twice")


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
