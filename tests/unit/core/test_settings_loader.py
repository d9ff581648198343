"""Settings: every problem at once, secrets from files and never shown, bounds enforced."""

import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from tallypost_core.settings import Secret, SettingsError, load_settings
from tallypost_core.settings.apps import (
    APP_SETTINGS,
    BillingSettings,
    WorkerSettings,
    load,
    load_or_exit,
)
from tallypost_core.settings.loader import list_variables

PASSWORD = "correct-horse-battery"
BILLING = {
    "TALLYPOST_DATABASE_BILLING_URL": f"postgresql://tp_billing:{PASSWORD}@127.0.0.1/tallypost",
    "TALLYPOST_REDIS_URL": "redis://127.0.0.1:6379/0",
}


class ServerGroup(Struct, frozen=True):
    """A group of the tests."""

    port: Annotated[int, Meta(ge=1, le=65535, description="The port.")] = 80
    ratio: Annotated[float, Meta(gt=0, le=1, description="The ratio.")] = 0.5
    kind: Annotated[Literal["a", "b"], Meta(description="The kind.")] = "a"
    steps_s: Annotated[tuple[Annotated[float, Meta(gt=0)], ...], Meta(description="The steps.")] = (
        1.0,
    )
    folder: Annotated[Path, Meta(description="The folder.")] = Path("data")
    is_on: Annotated[bool, Meta(description="Whether it is on.")] = False
    note: Annotated[str | None, Meta(description="The note.")] = None
    token: Annotated[Secret | None, Meta(description="The token.")] = None


class ServerSettings(Struct, frozen=True):
    """Settings of the tests."""

    server: ServerGroup


def load_server(**variables: str) -> ServerGroup:
    environ = {f"TALLYPOST_SERVER_{name.upper()}": value for name, value in variables.items()}
    return load_settings(ServerSettings, environ, (ServerSettings,)).server


def problems_of(struct: type[Struct], environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(struct, environ)
    return caught.value.problems


def test_values_are_converted_to_their_types() -> None:
    server = load_server(
        port="8080",
        ratio="0.25",
        kind="b",
        steps_s="1, 2.5,3",
        folder="/srv/data",
        is_on="true",
        note="8",
        token="t",
    )
    assert server == ServerGroup(
        port=8080,
        ratio=0.25,
        kind="b",
        steps_s=(1.0, 2.5, 3.0),
        folder=Path("/srv/data"),
        is_on=True,
        note="8",
        token=Secret("t"),
    )


def test_unset_and_empty_variables_take_the_default() -> None:
    assert load_server() == ServerGroup()
    assert load_server(port="", kind="", token="", note="", steps_s="") == ServerGroup()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", "0"),
        ("port", "65536"),
        ("port", "eighty"),
        ("port", "80.5"),
        ("ratio", "0"),
        ("ratio", "1.01"),
        ("ratio", "nan"),
        ("ratio", "inf"),
        ("kind", "c"),
        ("steps_s", "1,0"),
        ("steps_s", "1,inf"),
        ("steps_s", "1,two"),
        ("steps_s", ","),
        ("is_on", "perhaps"),
    ],
)
def test_value_outside_type_or_bounds_is_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_server(**{field: value})
    (problem,) = caught.value.problems
    assert problem.startswith(f"TALLYPOST_SERVER_{field.upper()}: ")


def test_all_problems_are_reported_at_once() -> None:
    problems = problems_of(
        BillingSettings,
        {
            "TALLYPOST_BILLING_PORT": "99999",
            "TALLYPOST_LOG_LEVEL": "loud",
            "TALLYPOST_REDIS_URL_FILE": "/nonexistent/redis",
            "TALLYPOST_BILING_HOST": "127.0.0.1",
        },
    )
    names = [problem.replace(":", " ").split()[0] for problem in problems]
    assert sorted(names) == [
        "TALLYPOST_BILING_HOST",
        "TALLYPOST_BILLING_PORT",
        "TALLYPOST_DATABASE_BILLING_URL",
        "TALLYPOST_LOG_LEVEL",
        "TALLYPOST_REDIS_URL",
    ]


def test_missing_variable_is_named_with_its_meaning() -> None:
    problems = problems_of(BillingSettings, {"TALLYPOST_REDIS_URL": "redis://127.0.0.1"})
    assert problems == [
        "TALLYPOST_DATABASE_BILLING_URL is missing: "
        "postgresql:// address with the login of role tp_billing."
    ]


def test_empty_required_variable_counts_as_missing() -> None:
    (problem,) = problems_of(BillingSettings, BILLING | {"TALLYPOST_REDIS_URL": ""})
    assert problem.startswith("TALLYPOST_REDIS_URL is missing")


def test_variable_of_another_app_is_fine() -> None:
    settings = load(BillingSettings, BILLING | {"TALLYPOST_SMTP_HOST": "smtp.example.com"})
    assert settings.billing.port == 8003


def test_unknown_variable_is_an_error_without_its_value() -> None:
    (problem,) = problems_of(BillingSettings, BILLING | {"TALLYPOST_REDIS_ULR": PASSWORD})
    assert problem.startswith("TALLYPOST_REDIS_ULR is not a setting of any app")
    assert PASSWORD not in problem


def test_variables_of_others_and_of_the_test_suite_are_left_alone() -> None:
    load(BillingSettings, BILLING | {"HOME": "/", "TALLYPOST_TEST_POSTGRES_IMAGE": "postgres"})


def test_only_secrets_are_read_from_files() -> None:
    (problem,) = problems_of(BillingSettings, BILLING | {"TALLYPOST_BILLING_HOST_FILE": "/x"})
    assert problem.startswith("TALLYPOST_BILLING_HOST_FILE is not a setting")


def test_secret_is_read_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "redis"
    file.write_text("redis://127.0.0.1:1/0\n")
    environ = BILLING | {"TALLYPOST_REDIS_URL": "", "TALLYPOST_REDIS_URL_FILE": str(file)}
    assert load(BillingSettings, environ).redis.url.reveal() == "redis://127.0.0.1:1/0"


def test_secret_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "redis"
    file.write_text("redis://127.0.0.1:1/0")
    (problem,) = problems_of(BillingSettings, BILLING | {"TALLYPOST_REDIS_URL_FILE": str(file)})
    assert "set twice" in problem


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfesecret"])
def test_useless_secret_file_is_refused_without_its_content(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "redis"
    file.write_bytes(content)
    environ = BILLING | {"TALLYPOST_REDIS_URL": "", "TALLYPOST_REDIS_URL_FILE": str(file)}
    (problem,) = problems_of(BillingSettings, environ)
    assert problem.startswith(f"TALLYPOST_REDIS_URL: {file} is ")
    assert "xff" not in problem


def test_malformed_key_ring_is_found_at_the_start_without_its_bytes() -> None:
    environ = {
        "TALLYPOST_SECRETS_KEY_RING": f"new:{PASSWORD},old:AAAA",
        "TALLYPOST_SECRETS_PEPPERS": PASSWORD,
    }
    problems = "\n".join(problems_of(WorkerSettings, environ))
    for part in (
        "TALLYPOST_SECRETS_KEY_RING: entry 1 (new) is not valid base64; entry 2 (old) has 3 bytes",
        "TALLYPOST_SECRETS_PEPPERS: entry 1 is not of the form name:base64",
    ):
        assert part in problems
    assert PASSWORD not in problems


def test_secret_shows_in_no_text_of_the_settings() -> None:
    settings = load(BillingSettings, BILLING)
    secret = settings.database.billing_url
    for text in (repr(settings), str(settings), f"{secret}", repr(secret), f"{[secret]}"):
        assert PASSWORD not in text
    assert PASSWORD in secret.reveal()


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_settings_are_frozen() -> None:
    settings = load(BillingSettings, BILLING)
    with pytest.raises(AttributeError):
        settings.billing.port = 1  # type: ignore[misc]  # The point of the test.


def test_start_up_ends_with_every_problem_and_where_to_read() -> None:
    with pytest.raises(SystemExit) as caught:
        load_or_exit(BillingSettings, {"TALLYPOST_NO_SUCH": "1"})
    message = str(caught.value.code)
    for part in ("DATABASE_BILLING_URL", "REDIS_URL", "NO_SUCH", "docs/settings.md"):
        assert part in message


def test_default_schedule_gives_up_after_about_72_hours() -> None:
    (schedule,) = (
        variable.default
        for variable in list_variables(WorkerSettings)
        if variable.name == "TALLYPOST_DELIVERY_RETRY_SCHEDULE_S"
    )
    assert 71 < sum(schedule) / 3600 < 73


@pytest.mark.parametrize("app", APP_SETTINGS)
def test_every_variable_says_what_it_means(app: str) -> None:
    for variable in list_variables(APP_SETTINGS[app]):
        assert variable.description.endswith("."), variable.name


def test_one_name_is_never_two_settings() -> None:
    paths = {
        (variable.name, variable.path)
        for struct in APP_SETTINGS.values()
        for variable in list_variables(struct)
    }
    assert len({name for name, _ in paths}) == len(paths)


def test_environment_of_this_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TALLYPOST_")]:
        monkeypatch.delenv(name)
    for name, value in BILLING.items():
        monkeypatch.setenv(name, value)
    assert load(BillingSettings) == load(BillingSettings, BILLING)
