"""`tallypost plugins` tells what is installed, what is used, and what cannot be."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tallypost_cli.main import main
from tallypost_cli.plugin_tables import print_tables
from tallypost_cli.plugins import Listing
from tallypost_cli.subscriber_listing import list_subscribers
from tallypost_domain.subscribers.types import SubscriberState
from tests.support.plugins import LISTENER, PIGEON, Plugins

SECRET = "three-short-ones"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that folds nothing."""
    monkeypatch.setenv("COLUMNS", "200")


def listed(*arguments: str, **environ: str) -> Result:
    # No installation runs there that would know how subscribers do.
    options = ("--data-folder", "no-such-folder")
    return CliRunner().invoke(main, ["plugins", *options, *arguments], env=environ)


def install_listener(plugins: Plugins, source: str = LISTENER) -> None:
    plugins.install(
        "listener",
        source,
        distribution="listener-post",
        value="listener_post:Listener",
        group="tallypost.events",
    )


def row_of(result: Result, name: str) -> list[str]:
    """The cells of the first row that begins with a name."""
    line = next(line for line in result.output.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_named_plugin_is_listed_with_its_settings_and_no_value(plugins: Plugins) -> None:
    plugins.install()
    result = listed(
        TALLYPOST_PROVIDERS="pigeon",
        TALLYPOST_PIGEON_LOFT="home",
        TALLYPOST_PIGEON_WHISTLE=SECRET,
    )
    assert result.exit_code == 0, result.output
    row = ["pigeon", "pigeon-post 1.0", "pigeon_post:Pigeon", "yes", "yes"]
    assert row_of(result, "pigeon") == row
    assert row_of(result, "smtp") == [
        *("smtp", "tallypost 0.1.0", "tallypost_providers.smtp:SMTPProvider", "no", "yes")
    ]
    for variable, state in (("LOFT", "set"), ("BIRDS", "unset"), ("WHISTLE", "set")):
        assert ["pigeon", f"TALLYPOST_PIGEON_{variable}", state] in [
            [cell.strip() for cell in line.strip("│").split("│")]
            for line in result.output.splitlines()
        ]
    assert SECRET not in result.output
    assert "home" not in result.output


def test_json_holds_the_same_for_programs(plugins: Plugins, tmp_path: Path) -> None:
    plugins.install()
    whistle = tmp_path / "whistle"
    whistle.write_text(SECRET)
    result = listed(
        "--json",
        TALLYPOST_PROVIDERS="pigeon",
        TALLYPOST_PIGEON_LOFT="home",
        TALLYPOST_PIGEON_WHISTLE_FILE=str(whistle),
    )
    assert result.exit_code == 0, result.output
    found = {item["name"]: item for item in json.loads(result.stdout)["providers"]}
    assert found["pigeon"]["folder"] == str(plugins.folder)
    assert found["pigeon"]["is_named"]
    assert found["pigeon"]["problem"] is None
    assert {item["variable"]: item["state"] for item in found["pigeon"]["settings"]} == {
        "TALLYPOST_PIGEON_LOFT": "set",
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


@pytest.mark.parametrize(
    ("name", "environ", "told"),
    [
        ("ses", {}, "TALLYPOST_SES_REGION"),
        ("sendgrid", {}, "TALLYPOST_SENDGRID_API_KEY is missing"),
        ("smtp", {}, "TALLYPOST_SMTP_HOST is missing"),
        ("smtp", {"TALLYPOST_SMTP_HOST": "relay.test", "TALLYPOST_SMTP_PORT": "0"}, "SMTP_PORT"),
        ("smtp", {"TALLYPOST_SMTP_HOST": "relay.test", "TALLYPOST_SMTP_USERNAME": "u"}, "PASSWORD"),
    ],
)
def test_provider_of_ours_that_no_worker_could_make_fails_the_command_where_it_is_named(
    name: str, environ: dict[str, str], told: str
) -> None:
    named = listed(TALLYPOST_PROVIDERS=name, **environ)
    assert named.exit_code == 1
    assert row_of(named, name)[3:] == ["yes", "no"]
    assert told in named.output
    assert f"TALLYPOST_PROVIDERS names what cannot be loaded or made: {name}." in named.stderr
    other = "smtp" if name != "smtp" else "sendgrid"
    working = {
        "smtp": {"TALLYPOST_SMTP_HOST": "relay.test"},
        "sendgrid": {"TALLYPOST_SENDGRID_API_KEY": SECRET},
    }
    unnamed = listed(TALLYPOST_PROVIDERS=other, **environ, **working[other])
    assert unnamed.exit_code == 0, unnamed.output
    assert row_of(unnamed, name)[3:] == ["no", "yes"]


def test_relay_that_is_set_up_by_half_is_told_although_nothing_names_it() -> None:
    result = listed(TALLYPOST_SMTP_USERNAME="somebody")
    assert result.exit_code == 1
    assert row_of(result, "smtp")[3:] == ["yes", "no"]
    assert "TALLYPOST_SMTP_HOST is missing" in result.output


def test_providers_that_can_be_made_are_named_without_a_word_to_their_servers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = listed(
            TALLYPOST_PROVIDERS="ses,sendgrid,smtp",
            TALLYPOST_SES_REGION="eu-central-1",
            TALLYPOST_SES_ENDPOINT=f"http://{address}",
            TALLYPOST_SENDGRID_API_KEY=SECRET,
            TALLYPOST_SENDGRID_ENDPOINT=f"http://{address}",
            TALLYPOST_SMTP_HOST="127.0.0.1",
            TALLYPOST_SMTP_PORT=address.rpartition(":")[2],
        )
        assert result.exit_code == 0, result.output
        for name in ("ses", "sendgrid", "smtp"):
            assert row_of(result, name)[3:] == ["yes", "yes"]
        # Whoever had connected would be waiting to be let in.
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("self.kept = settings", f"raise ValueError({SECRET!r})", "constructor raised ValueError"),
        ("self.kept = settings", "raise SystemExit", "constructor raised SystemExit"),
        ("self.account = account", "self.account = ''", "does not keep `account`"),
        ("        pass", f"        raise OSError({SECRET!r})", "close raised OSError"),
    ],
)
def test_provider_of_a_plugin_is_made_and_closed_where_it_is_named(
    plugins: Plugins, old: str, new: str, told: str
) -> None:
    assert PIGEON.count(old) == 1
    plugins.install(source=PIGEON.replace(old, new))
    environ = {"TALLYPOST_PIGEON_LOFT": "home"}
    unnamed = listed(**environ)
    assert unnamed.exit_code == 0, unnamed.output
    assert row_of(unnamed, "pigeon")[3:] == ["no", "yes"]
    named = listed(TALLYPOST_PROVIDERS="pigeon", **environ)
    assert named.exit_code == 1
    assert row_of(named, "pigeon")[3:] == ["yes", "no"]
    assert told in named.output
    assert SECRET not in named.output


def test_every_problem_of_a_plugins_settings_is_told_beside_their_states(plugins: Plugins) -> None:
    plugins.install()
    result = listed(
        "--json",
        TALLYPOST_PROVIDERS="pigeon",
        TALLYPOST_PIGEON_BIRDS="0",
        TALLYPOST_PIGEON_COLOUR="grey",
    )
    assert result.exit_code == 1
    (found,) = (i for i in json.loads(result.stdout)["providers"] if i["name"] == "pigeon")
    for variable in ("LOFT is missing", "BIRDS", "COLOUR is not a setting"):
        assert f"TALLYPOST_PIGEON_{variable}" in found["problem"]
    states = {item["variable"]: item["state"] for item in found["settings"]}
    assert states["TALLYPOST_PIGEON_LOFT"] == "missing"


def test_named_subscriber_is_listed_with_its_settings_and_no_value(plugins: Plugins) -> None:
    install_listener(plugins)
    result = listed(
        TALLYPOST_SUBSCRIBERS="listener",
        TALLYPOST_LISTENER_FILE="/events",
        TALLYPOST_LISTENER_WORD=SECRET,
    )
    assert result.exit_code == 0, result.output
    row = ["listener", "listener-post 1.0", "listener_post:Listener", "yes", "yes", "", "", ""]
    assert row_of(result, "listener") == row
    assert "│ listener │ TALLYPOST_LISTENER_FILE" in result.output
    assert SECRET not in result.output
    # Nobody said which database knows how it does.
    assert "set TALLYPOST_DATABASE_CLI_URL" in result.output


def test_subscriber_with_wrong_settings_fails_the_command_only_where_it_is_named(
    plugins: Plugins,
) -> None:
    install_listener(plugins)
    unnamed = listed()
    assert unnamed.exit_code == 0, unnamed.output
    assert row_of(unnamed, "listener")[3:5] == ["no", "yes"]
    named = listed("--json", TALLYPOST_SUBSCRIBERS="listener", TALLYPOST_LISTENER_FIEL="/events")
    assert named.exit_code == 1
    assert "TALLYPOST_SUBSCRIBERS names what cannot be loaded or made: listener." in named.stderr
    (found,) = json.loads(named.stdout)["subscribers"]
    assert "TALLYPOST_LISTENER_FILE is missing" in found["problem"]
    assert "TALLYPOST_LISTENER_FIEL is not a setting" in found["problem"]
    assert found["settings"][0]["state"] == "missing"


def test_subscriber_that_is_not_installed_is_listed_and_fails_the_command() -> None:
    result = listed(TALLYPOST_SUBSCRIBERS="listener")
    assert result.exit_code == 1
    assert row_of(result, "listener")[:5] == ["listener", "not installed", "", "yes", "no"]


def test_database_that_does_not_answer_leaves_the_list_and_ends_a_retry(plugins: Plugins) -> None:
    install_listener(plugins)
    url = f"postgresql://tp_cli:{SECRET}@127.0.0.1:1/none"
    shown = listed(TALLYPOST_DATABASE_CLI_URL=url)
    assert shown.exit_code == 0, shown.output
    assert "The database refused" in shown.output
    for action in ("retry", "forget"):
        result = listed(action, "listener", TALLYPOST_DATABASE_CLI_URL=url)
        assert result.exit_code == 1
        assert "The database refused" in result.stderr
        assert SECRET not in result.output


@pytest.mark.parametrize(
    ("age_s", "shown"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (200_000, "2 d"), (-1, "0 s")],
)
def test_ages_are_shown_in_their_largest_unit(
    age_s: float, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = SubscriberState(
        name="listener", seen_ago_s=age_s, is_hanging=False, waiting=0, dead=0, last_error=None
    )
    print_tables(Listing((), list_subscribers({}, [state]), None))
    assert f"│ {shown} ago" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"postgresql:/tp_cli:{SECRET}@127.0.0.1/none", "CLI_URL is no postgresql:// address"),
        (f"postgresql://tp_cli:{SECRET}@127.0.0.1:a/none", "CLI_URL is no postgresql:// address"),
        (f"postgresql://tp_cli:{SECRET}@127.0.0.1:70000/none", "The database refused"),
    ],
)
def test_address_that_is_none_leaves_the_list_and_ends_a_retry(
    plugins: Plugins, url: str, told: str
) -> None:
    install_listener(plugins)
    shown = listed(TALLYPOST_DATABASE_CLI_URL=url)
    assert shown.exit_code == 0, shown.output
    assert told in shown.output
    result = listed("retry", "listener", TALLYPOST_DATABASE_CLI_URL=url)
    assert result.exit_code == 1
    assert told in result.stderr
    assert SECRET not in shown.output + result.output


def test_subscriber_whose_constructor_refuses_fails_the_command_only_where_it_is_named(
    plugins: Plugins,
) -> None:
    install_listener(
        plugins,
        LISTENER.replace(
            "self.kept = settings",
            "from tallypost_core.plugin_events import SubscriberMisconfigured\n"
            "        raise SubscriberMisconfigured('TALLYPOST_LISTENER_FILE is relative.')",
        ),
    )
    unnamed = listed(TALLYPOST_LISTENER_FILE="events")
    assert unnamed.exit_code == 0, unnamed.output
    assert row_of(unnamed, "listener")[3:5] == ["no", "yes"]
    named = listed(TALLYPOST_SUBSCRIBERS="listener", TALLYPOST_LISTENER_FILE="events")
    assert named.exit_code == 1
    assert row_of(named, "listener")[3:5] == ["yes", "no"]
    assert "TALLYPOST_LISTENER_FILE is relative" in named.output
    assert "TALLYPOST_SUBSCRIBERS names what cannot be loaded or made: listener." in named.stderr


def test_plugins_whose_modules_end_the_program_leave_the_list(plugins: Plugins) -> None:
    leave = "import sys\nsys.exit(0)\n"
    install_listener(plugins, leave)
    plugins.install(source=leave)
    result = listed()
    assert result.exit_code == 0, result.output
    assert row_of(result, "listener")[3:5] == ["no", "no"]
    assert row_of(result, "pigeon")[3:] == ["no", "no"]
    assert result.output.count("cannot be loaded: SystemExit") == 2


def test_broken_plugin_fails_the_command_only_where_it_is_named(plugins: Plugins) -> None:
    plugins.install(source="class Pigeon: ...")
    unnamed = listed()
    assert unnamed.exit_code == 0, unnamed.output
    assert row_of(unnamed, "pigeon")[3:] == ["no", "no"]
    assert "`async def send`" in unnamed.output
    named = listed("--json", TALLYPOST_PROVIDERS="pigeon")
    assert named.exit_code == 1
    assert "names what cannot be loaded or made: pigeon." in named.stderr
    assert json.loads(named.stdout)


def test_name_that_is_not_installed_is_listed_and_fails_the_command() -> None:
    result = listed(TALLYPOST_PROVIDERS="pigeon,smtp")
    assert result.exit_code == 1
    assert row_of(result, "pigeon") == ["pigeon", "not installed", "", "yes", "no"]
