"""A plugin's settings are read like ours: by one loader, with all problems at once."""

import base64
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tallypost_core.settings import Secret, SettingsError
from tallypost_core.settings.apps import APISettings, load
from tallypost_core.settings.loader import list_variables
from tallypost_providers.account_settings import load_worker, load_worker_or_exit
from tests.support.plugins import PIGEON, Plugins

RING = f"sample:{base64.b64encode(bytes(32)).decode()}"
WORKER = {
    "TALLYPOST_DATABASE_DELIVER_URL": "postgresql://a@127.0.0.1/a",
    "TALLYPOST_DATABASE_WORKER_URL": "postgresql://b@127.0.0.1/a",
    "TALLYPOST_REDIS_URL": "redis://127.0.0.1",
    "TALLYPOST_SECRETS_KEY_RING": RING,
    "TALLYPOST_SECRETS_PEPPERS": RING,
    "TALLYPOST_OBJECTS_URL": "file:///objects",
}
NAMED = WORKER | {"TALLYPOST_PROVIDERS": "pigeon,smtp", "TALLYPOST_SMTP_HOST": "smtp.example.com"}
WHISTLE = "three-short-ones"


def problems_of(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_worker(environ)
    return caught.value.problems


def group_of(environ: dict[str, str]) -> dict[str, object]:
    settings = load_worker(environ)
    assert settings.smtp.host == "smtp.example.com"
    return msgspec.structs.asdict(getattr(settings, "pigeon"))  # noqa: B009 - mypy knows no such field


def test_named_plugin_reads_variables_that_begin_with_its_name(plugins: Plugins) -> None:
    plugins.install()
    settings = NAMED | {"TALLYPOST_PIGEON_LOFT": "home", "TALLYPOST_PIGEON_WHISTLE": WHISTLE}
    assert group_of(settings) == {"loft": "home", "birds": 3, "whistle": Secret(WHISTLE)}


def test_secret_of_a_plugin_is_read_from_a_file(plugins: Plugins, tmp_path: Path) -> None:
    plugins.install()
    file = tmp_path / "whistle"
    file.write_text(f"{WHISTLE}\n")
    settings = {"TALLYPOST_PIGEON_LOFT": "home", "TALLYPOST_PIGEON_WHISTLE_FILE": str(file)}
    assert group_of(NAMED | settings)["whistle"] == Secret(WHISTLE)


def test_problems_of_a_plugin_and_of_ours_are_told_together(plugins: Plugins) -> None:
    plugins.install()
    wrong = {
        "TALLYPOST_PIGEON_BIRDS": "0",
        "TALLYPOST_PIGEON_BIRD": "1",
        "TALLYPOST_SMTP_PORT": "x",
    }
    problems = problems_of(NAMED | wrong | {"TALLYPOST_PROVIDERS": "pigeon,sntp"})
    assert [problem.split(" ")[0].rstrip(":") for problem in problems] == [
        "TALLYPOST_PROVIDERS",
        "TALLYPOST_SMTP_PORT",
        "TALLYPOST_PIGEON_LOFT",
        "TALLYPOST_PIGEON_BIRDS",
        "TALLYPOST_PIGEON_BIRD",
    ]
    assert problems[2] == "TALLYPOST_PIGEON_LOFT is missing: Name of the loft."


def test_plugin_that_cannot_be_used_ends_the_start_with_what_is_wrong(plugins: Plugins) -> None:
    plugins.install(source=PIGEON.replace("async def close", "def close"))
    with pytest.raises(SystemExit) as caught:
        load_worker_or_exit(NAMED | {"TALLYPOST_PIGEON_LOFT": "home"})
    assert "`async def close`" in str(caught.value.code)
    assert "TALLYPOST_PIGEON_LOFT" not in str(caught.value.code)


def test_variables_of_an_installed_plugin_are_left_alone_where_nobody_reads_them(
    plugins: Plugins,
) -> None:
    api = {
        "TALLYPOST_DATABASE_API_URL": "postgresql://a@127.0.0.1/a",
        "TALLYPOST_DATABASE_ACCEPT_URL": "postgresql://b@127.0.0.1/a",
        "TALLYPOST_SECRETS_KEY_RING": RING,
        "TALLYPOST_SECRETS_PEPPERS": RING,
        "TALLYPOST_OBJECTS_URL": "file:///objects",
        "TALLYPOST_PIGEON_LOFT": "home",
    }
    with pytest.raises(SettingsError, match="TALLYPOST_PIGEON_LOFT is not a setting"):
        load(APISettings, api)
    plugins.install(source="raise RuntimeError('nobody asked for it')")
    load(APISettings, api)
    load_worker(WORKER | {"TALLYPOST_PIGEON_LOFT": "home"})


def test_plugin_does_not_excuse_a_typing_error_in_our_own_groups(plugins: Plugins) -> None:
    plugins.install("redis")
    (problem,) = problems_of(WORKER | {"TALLYPOST_REDIS_ULR": "redis://127.0.0.1"})
    assert problem.startswith("TALLYPOST_REDIS_ULR is not a setting")


def test_empty_list_of_providers_is_told_once() -> None:
    assert problems_of(WORKER | {"TALLYPOST_PROVIDERS": ","}) == [
        "TALLYPOST_PROVIDERS: is an empty list"
    ]


def test_group_of_a_plugin_names_its_variables(plugins: Plugins) -> None:
    plugins.install()
    settings = load_worker(NAMED | {"TALLYPOST_PIGEON_LOFT": "home"})
    names = {variable.name for variable in list_variables(type(settings))}
    assert {"TALLYPOST_PIGEON_LOFT", "TALLYPOST_SES_REGION", "TALLYPOST_SMTP_HOST"} <= names


def test_only_providers_that_are_named_are_imported() -> None:
    script = (
        "import sys\n"
        "from tallypost_core.settings.providers import SMTPSettings\n"
        "from tallypost_providers import account_settings, registry\n"
        f"account_settings.load_worker({WORKER!r})\n"
        "registry.create_account('smtp', SMTPSettings(host='127.0.0.1', security='none'))\n"
        "heavy = {'aioboto3', 'sendgrid', 'tallypost_providers.ses'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert finished.stderr == ""
