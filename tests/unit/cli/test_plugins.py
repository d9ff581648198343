"""`tallypost plugins` tells what is installed, what is used, and what cannot be."""

import json

import pytest
from click.testing import CliRunner, Result

from tallypost_cli.main import main
from tests.support.plugins import Plugins

SECRET = "three-short-ones"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that folds nothing."""
    monkeypatch.setenv("COLUMNS", "200")


def listed(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["plugins", *arguments], env=environ)


def row_of(result: Result, name: str) -> list[str]:
    """The cells of the first row that begins with a name."""
    line = next(line for line in result.output.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_named_plugin_is_listed_with_its_settings_and_no_value(plugins: Plugins) -> None:
    plugins.install()
    result = listed(
        TALLYPOST_PROVIDERS="pigeon",
        TALLYPOST_PIGEON_WHISTLE=SECRET,
        TALLYPOST_PIGEON_BIRDS="4711",
    )
    assert result.exit_code == 0, result.output
    row = ["pigeon", "pigeon-post 1.0", "pigeon_post:Pigeon", "yes", "yes"]
    assert row_of(result, "pigeon") == row
    assert row_of(result, "smtp") == [
        *("smtp", "tallypost 0.1.0", "tallypost_providers.smtp:SMTPProvider", "no", "yes")
    ]
    for variable, state in (("LOFT", "missing"), ("BIRDS", "set"), ("WHISTLE", "set")):
        assert ["pigeon", f"TALLYPOST_PIGEON_{variable}", state] in [
            [cell.strip() for cell in line.strip("│").split("│")]
            for line in result.output.splitlines()
        ]
    assert SECRET not in result.output
    assert "4711" not in result.output


def test_json_holds_the_same_for_programs(plugins: Plugins) -> None:
    plugins.install()
    result = listed(
        "--json", TALLYPOST_PROVIDERS="smtp,pigeon", TALLYPOST_PIGEON_WHISTLE_FILE="/whistle"
    )
    assert result.exit_code == 0, result.output
    found = {item["name"]: item for item in json.loads(result.stdout)["providers"]}
    assert found["pigeon"]["folder"] == str(plugins.folder)
    assert found["pigeon"]["is_named"]
    assert found["pigeon"]["problem"] is None
    assert {item["variable"]: item["state"] for item in found["pigeon"]["settings"]} == {
        "TALLYPOST_PIGEON_LOFT": "missing",
        "TALLYPOST_PIGEON_BIRDS": "unset",
        "TALLYPOST_PIGEON_WHISTLE": "set by file",
    }


def test_installation_without_plugins_says_so_and_lists_ours() -> None:
    result = listed()
    assert result.exit_code == 0, result.output
    assert "No other distribution has a provider" in result.output
    assert "No subscribers to events" in result.output
    assert row_of(result, "smtp")[3:] == ["yes", "yes"]
    assert row_of(result, "inbox")[3:] == ["no", "yes"]


def test_subscriber_is_listed_as_not_called_yet_and_not_imported(plugins: Plugins) -> None:
    plugins.install("ledger", "raise RuntimeError", group="tallypost.events")
    result = listed()
    assert result.exit_code == 0, result.output
    assert row_of(result, "ledger")[-1] == "not called yet"


def test_broken_plugin_fails_the_command_only_where_it_is_named(plugins: Plugins) -> None:
    plugins.install(source="class Pigeon: ...")
    unnamed = listed()
    assert unnamed.exit_code == 0, unnamed.output
    assert row_of(unnamed, "pigeon")[3:] == ["no", "no"]
    assert "`async def send`" in unnamed.output
    named = listed("--json", TALLYPOST_PROVIDERS="pigeon")
    assert named.exit_code == 1
    assert "names what cannot be loaded: pigeon." in named.stderr
    assert json.loads(named.stdout)


def test_name_that_is_not_installed_is_listed_and_fails_the_command() -> None:
    result = listed(TALLYPOST_PROVIDERS="pigeon,smtp")
    assert result.exit_code == 1
    assert row_of(result, "pigeon") == ["pigeon", "not installed", "", "yes", "no"]
