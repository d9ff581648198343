"""What the demo adds to a system: settings of the apps, and programs beside them."""

from pathlib import Path

import pytest

from tallypost_cli import seed
from tallypost_cli.demo.demonstration import Demonstration
from tallypost_cli.demo.refusals import is_loopback
from tallypost_cli.programs import Program
from tallypost_core.settings import apps
from tallypost_providers.ses_settings import require_usable

_LOGIN = "postgresql://tp_inbox:password@127.0.0.1/tallypost"
_OF_THE_INBOX = {
    "PATH": "/bin",
    "TALLYPOST_DATABASE_INBOX_URL": _LOGIN,
    "TALLYPOST_INBOX_PORT": "1025",
    "TALLYPOST_INBOX_CONTROL_TOKEN": "token of the mail server",
}


@pytest.fixture
def demonstration(tmp_path: Path) -> Demonstration:
    """One that has not started."""
    return Demonstration(tmp_path)


def program(name: str, environment: dict[str, str]) -> Program:
    return Program(name, ["python", "-m", "tallypost_cli", name], environment, Path("/"), None)


def refined(demonstration: Demonstration) -> dict[str, Program]:
    """The programs of a demo, by their names."""
    programs = [program("worker", {"PATH": "/bin"}), program("local-inbox", _OF_THE_INBOX)]
    return {each.name: each for each in demonstration.refine(programs)}


def test_worker_asks_an_ses_on_this_machine_first_and_the_mail_server_second(
    demonstration: Demonstration,
) -> None:
    needed = {
        "TALLYPOST_DATABASE_DELIVER_URL": "postgresql://",
        "TALLYPOST_DATABASE_WORKER_URL": "postgresql://",
        "TALLYPOST_REDIS_URL": "redis://",
        "TALLYPOST_SECRETS_KEY_RING": "local:" + "QUFB" * 10 + "QUE=",
        "TALLYPOST_SECRETS_PEPPERS": "local:" + "QkJC" * 10 + "QkI=",
        "TALLYPOST_OBJECTS_URL": "file:///objects",
    }
    settings = apps.load(apps.WorkerSettings, needed | demonstration.settings())
    assert settings.providers == ("ses", "smtp")
    assert is_loopback(settings.ses.endpoint or "")
    require_usable(settings.ses)


def test_ses_runs_beside_with_the_login_of_the_inbox_and_nothing_else_of_it(
    demonstration: Demonstration,
) -> None:
    ses = refined(demonstration)["local-ses"]
    assert ses.command[-1] == "local-ses"
    settings = apps.load(apps.LocalSESSettings, ses.environment)
    assert settings.database.inbox_url.reveal() == _LOGIN
    assert settings.local_ses.domains == seed.DOMAINS
    assert not any("TALLYPOST_INBOX_" in name for name in ses.environment)


def test_each_simulator_has_a_door_and_a_token_of_its_own(demonstration: Demonstration) -> None:
    addresses = demonstration.addresses()
    ends = {"CONTROL_PORT": set[str](), "TOKEN": set[str]()}
    for name, value in addresses.items():
        for end, values in ends.items():
            if name.endswith(end):
                values.add(value)
    assert (len(ends["CONTROL_PORT"]), len(ends["TOKEN"])) == (2, 3)


def test_a_second_worker_runs_on_a_port_of_its_own(demonstration: Demonstration) -> None:
    programs = refined(demonstration)
    assert programs["worker-2"].command == programs["worker"].command
    assert "TALLYPOST_WORKER_PORT" in programs["worker-2"].environment
