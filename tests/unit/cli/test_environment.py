"""Each app's environment holds what its settings read, its own logins only, and nothing else."""

from pathlib import Path

import pytest

from tallypost_cli import programs
from tallypost_cli.environment import (
    child_environment,
    local_defaults,
    login_roles,
    role_url,
    url_variable,
)
from tallypost_cli.local_secrets import LocalSecrets
from tallypost_core.settings import SettingsError, apps
from tallypost_domain.db.roles import LOGIN_ROLES
from tests.support.plugins import Plugins

_OWNER_URL = "postgresql://tp_owner:owner-password@127.0.0.1:5555/tallypost?sslmode=disable"
_SECRETS = LocalSecrets(
    key_ring="local:" + "QUFB" * 10 + "QUE=",
    peppers="local:" + "QkJC" * 10 + "QkI=",
    superuser_password="superuser-password",
    owner_password="owner-password",
    redis_password="redis-password",
    role_passwords={role: f"password-of-{role}" for role in login_roles()},
)


def defaults(environ: dict[str, str] | None = None, folder: Path = Path("/data")) -> dict[str, str]:
    return local_defaults(
        folder,
        _SECRETS,
        _OWNER_URL,
        "redis://:redis-password@127.0.0.1:6666/0",
        programs.default_ports(8000),
        environ or {},
    )


def test_every_role_that_logs_in_has_an_address_in_some_app() -> None:
    assert set(login_roles()) == set(LOGIN_ROLES)


def test_an_app_gets_the_logins_of_its_own_roles_only() -> None:
    environment = child_environment(apps.WorkerSettings, defaults(), {})
    logins = {name for name in environment if name.startswith("TALLYPOST_DATABASE_")}
    assert logins == {"TALLYPOST_DATABASE_DELIVER_URL", "TALLYPOST_DATABASE_WORKER_URL"}


def test_no_app_gets_the_owner_of_the_database() -> None:
    for app in programs.APPS:
        environment = child_environment(app.settings, defaults(), {})
        assert "owner-password" not in " ".join(environment.values()), app.name


def test_nothing_of_the_demo_is_set_without_it() -> None:
    for app in programs.APPS:
        names = child_environment(app.settings, defaults(), {})
        assert not any("_DEMO_" in name or "_CONTROL_" in name for name in names), app.name


def test_an_app_without_stored_secrets_does_not_get_the_key_ring() -> None:
    environment = child_environment(apps.BouncesSettings, defaults(), {})
    assert "TALLYPOST_SECRETS_KEY_RING" not in environment


def test_every_app_can_start_with_the_local_defaults() -> None:
    for app in programs.APPS:
        apps.load(app.settings, child_environment(app.settings, defaults(), {}))


def test_what_the_person_set_wins_over_the_default() -> None:
    environ = {"TALLYPOST_API_PORT": "9000", "TALLYPOST_CONSOLE_PORT": "9001"}
    environment = child_environment(apps.APISettings, defaults(), environ)
    assert environment["TALLYPOST_API_PORT"] == "9000"
    assert "TALLYPOST_CONSOLE_PORT" not in environment


def test_a_secret_in_a_file_takes_the_place_of_the_default() -> None:
    environ = {"TALLYPOST_SECRETS_KEY_RING_FILE": "/run/ring"}
    environment = child_environment(apps.APISettings, defaults(), environ)
    assert environment["TALLYPOST_SECRETS_KEY_RING_FILE"] == "/run/ring"
    assert "TALLYPOST_SECRETS_KEY_RING" not in environment


def test_nothing_else_of_the_persons_environment_is_passed_on() -> None:
    environ = {"PATH": "/bin", "GITHUB_TOKEN": "t", "AWS_ACCESS_KEY_ID": "a", "OTEL_X": "o"}
    worker = child_environment(apps.WorkerSettings, defaults(), environ)
    bounces = child_environment(apps.BouncesSettings, defaults(), environ)
    assert "GITHUB_TOKEN" not in worker
    assert worker["AWS_ACCESS_KEY_ID"] == "a"
    assert "AWS_ACCESS_KEY_ID" not in bounces
    assert (bounces["PATH"], bounces["OTEL_X"]) == ("/bin", "o")


def test_the_worker_alone_gets_the_settings_of_a_plugin_that_is_named(plugins: Plugins) -> None:
    plugins.install()
    environ = {
        "TALLYPOST_PROVIDERS": "pigeon",
        "TALLYPOST_PIGEON_LOFT": "home",
        "TALLYPOST_PIGEON_WHISTLE": "three-short-ones",
    }
    started = programs.app_programs(programs.APPS, defaults(environ), environ, Path("/"))
    having = {
        program.name
        for program in started
        if any(name.startswith("TALLYPOST_PIGEON_") for name in program.environment)
    }
    assert having == {"worker"}
    (worker,) = (program for program in started if program.name == "worker")
    assert environ.items() <= worker.environment.items()


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_worker_alone_gets_the_settings_of_a_subscriber_that_is_named(
    plugins: Plugins, is_installed: bool
) -> None:
    if is_installed:
        plugins.install("listener", "raise RuntimeError", group="tallypost.events")
    environ = {
        "TALLYPOST_SUBSCRIBERS": "listener",
        "TALLYPOST_LISTENER_FILE": "/events",
        "TALLYPOST_LISTENER_WORD_FILE": "/word",
    }
    # Also one that is broken or gone: a subscriber keeps nothing from starting.
    started = programs.app_programs(programs.APPS, defaults(environ), environ, Path("/"))
    having = {
        program.name
        for program in started
        if any(name.startswith("TALLYPOST_LISTENER_") for name in program.environment)
    }
    assert having == {"worker"}
    (worker,) = (program for program in started if program.name == "worker")
    assert environ.items() <= worker.environment.items()


def test_nothing_starts_with_a_provider_that_cannot_be_used() -> None:
    environ = {"TALLYPOST_PROVIDERS": "pigeon", "TALLYPOST_SMTP_PORT": "x"}
    with pytest.raises(SettingsError, match="'pigeon', which is not installed") as caught:
        programs.app_programs(programs.APPS, defaults(environ), environ, Path("/"))
    assert len(caught.value.problems) == 2


def test_mail_goes_to_the_local_sink_unless_a_relay_is_named() -> None:
    local = child_environment(apps.WorkerSettings, defaults(), {})
    assert (local["TALLYPOST_SMTP_HOST"], local["TALLYPOST_SMTP_PORT"]) == ("127.0.0.1", "1025")
    environ = {"TALLYPOST_SMTP_HOST": "relay.example.com"}
    relayed = child_environment(apps.WorkerSettings, defaults(environ), environ)
    assert relayed["TALLYPOST_SMTP_HOST"] == "relay.example.com"
    assert "TALLYPOST_SMTP_SECURITY" not in relayed


def test_the_objects_folder_survives_blanks_in_the_path() -> None:
    environment = defaults(folder=Path("/a checkout/.tallypost"))
    assert environment["TALLYPOST_OBJECTS_URL"] == "file:///a%20checkout/.tallypost/objects"


def test_a_role_logs_in_at_the_owners_server_with_its_own_password() -> None:
    url = role_url(_OWNER_URL, "tp_api", "p/w")
    assert url == "postgresql://tp_api:p%2Fw@127.0.0.1:5555/tallypost?sslmode=disable"
    assert url_variable("tp_api") == "TALLYPOST_DATABASE_API_URL"
