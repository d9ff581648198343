"""The `tallypost` command. What a command needs is imported when it runs, so help is quick."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rich_click as click

from tallypost_cli import folders, sample_access
from tallypost_cli.errors import StartUpError
from tallypost_core.settings import SettingsError

_DATA_FOLDER = click.option(
    "--data-folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=folders.default_data_folder,
    show_default=".tallypost in the checkout",
    help="Folder for databases, secrets and logs.",
)
_CHECK = click.option(
    "--check", is_flag=True, help="Write nothing; fail where the file is not up to date."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run your own transactional email service.

    Every setting is an environment variable; docs/settings.md describes them.
    """


@main.command()
@_DATA_FOLDER
def up(data_folder: Path) -> None:
    """Run everything on this machine, databases included.

    Prints addresses, logins and keys once every app is ready, restarts what ends, and stops all
    of it on Ctrl-C. Apps listen on 8000 and up; TALLYPOST_PORT_BASE moves them. PostgreSQL and
    Redis are started too unless TALLYPOST_DATABASE_OWNER_URL and TALLYPOST_REDIS_URL name others.
    """
    from tallypost_cli import up as command

    with _errors_told():
        command.run(data_folder.resolve(), os.environ, _say)


@main.command()
@_DATA_FOLDER
def demo(data_folder: Path) -> None:
    """Run everything as `up` does, with sample traffic and a control panel.

    Sends made-up emails by two providers that run on this machine, tells a story of a good minute,
    and lets the console's demo page break things. The controller behind it is named in demo.env in
    the data folder. Refuses settings that lead away from this machine.
    """
    from tallypost_cli.demo import demonstration as command

    with _errors_told():
        command.run(data_folder.resolve(), os.environ, _say)


@main.command()
@click.option(
    "--set-passwords",
    is_flag=True,
    help="Also let the apps' roles log in with the passwords in TALLYPOST_DATABASE_*_URL.",
)
@_DATA_FOLDER
def migrate(set_passwords: bool, data_folder: Path) -> None:
    """Bring the database to this release.

    Uses TALLYPOST_DATABASE_OWNER_URL, else the database of an `up` that runs on the data folder.
    """
    from tallypost_cli import migrate as command

    with _errors_told():
        command.run(data_folder.resolve(), os.environ, _say, set_passwords=set_passwords)


@main.command()
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=lambda: folders.default_data_folder() / sample_access.FILE_NAME,
    show_default=".tallypost/seed.env in the checkout",
    help="Where logins and keys are kept, with mode 0600.",
)
def seed(file: Path) -> None:
    """Make an operator and two sample tenants with verified domains and API keys.

    Needs TALLYPOST_DATABASE_CLI_URL, TALLYPOST_SECRETS_KEY_RING and TALLYPOST_SECRETS_PEPPERS.
    `up` does it by itself. Repeating it changes nothing.
    """
    from tallypost_cli import seed as command

    with _errors_told():
        command.run(file.resolve(), os.environ, _say)


@main.command()
@_DATA_FOLDER
def doctor(data_folder: Path) -> None:
    """Check each hop that an email needs: migrations, logins, Redis, and every app.

    Looks at an `up` that runs on the data folder, or at what the settings name. Exits with 1
    where something fails.
    """
    from tallypost_cli import doctor as command

    with _errors_told():
        command.run(data_folder.resolve(), os.environ, _say)


@main.command("local-inbox", hidden=True)
def local_inbox() -> None:
    """Run the local mail server that fills the Inbox; `up` starts it."""
    from tallypost_cli import local_inbox as command

    command.run(os.environ)


@main.command("local-ses", hidden=True)
def local_ses() -> None:
    """Run the stand-in for Amazon SES; `demo` starts it."""
    from tallypost_cli import local_ses as command

    command.run(os.environ)


@main.command("clean-data")
@_DATA_FOLDER
def clean_data(data_folder: Path) -> None:
    """Delete all local data: databases, secrets, stored mail and logs.

    Refuses while `up` runs. Databases that the settings name are left alone.
    """
    from tallypost_cli import clean_data as command

    with _errors_told():
        command.run(data_folder.resolve(), _say)


@main.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
@_DATA_FOLDER
@click.pass_context
def plugins(context: click.Context, as_json: bool, data_folder: Path) -> None:
    """List providers and subscribers to events, and whether they can be used.

    Tells of each where it comes from, whether TALLYPOST_PROVIDERS or TALLYPOST_SUBSCRIBERS names
    it, and which of its settings are set, as this terminal has them; never a value. How
    subscribers do is read with TALLYPOST_DATABASE_CLI_URL, else from the database of an `up` that
    runs on the data folder. Exits with 1 where one that is named cannot be loaded or made.
    """
    context.obj = data_folder.resolve()
    if context.invoked_subcommand is not None:
        return
    from tallypost_cli import plugins as command

    with _errors_told():
        command.run(context.obj, os.environ, _say, as_json=as_json)


@plugins.command("retry")
@click.argument("name")
@click.pass_obj
def retry_subscriber(data_folder: Path, name: str) -> None:
    """Let the dead events of the subscriber NAME come again, with all their attempts."""
    from tallypost_cli import subscriber_listing

    with _errors_told():
        subscriber_listing.retry(name, data_folder, os.environ, _say)


@plugins.command("forget")
@click.argument("name")
@click.option("--yes", "is_sure", is_flag=True, help="Drop them without a question.")
@click.pass_obj
def forget_subscriber(data_folder: Path, name: str, is_sure: bool) -> None:
    """Drop all events that wait for the subscriber NAME, which no worker names any more.

    Tells how many they are and asks first; without a terminal it drops none unless --yes is given.
    """
    from tallypost_cli import subscriber_listing

    confirm: subscriber_listing.Confirm | None = None
    if is_sure:
        confirm = _agree
    elif sys.stdin.isatty():
        confirm = _ask
    with _errors_told():
        subscriber_listing.forget(name, data_folder, os.environ, _say, confirm)


@main.group()
def settings() -> None:
    """Write what is generated from the settings of all apps."""


@settings.command("docs")
@_CHECK
def settings_docs(check: bool) -> None:
    """Write docs/settings.md, the description of every setting."""
    from tallypost_cli import settings_files

    with _errors_told():
        settings_files.write_reference(folders.checkout_folder(), _say, check=check)


@settings.command("env")
@_CHECK
def settings_env(check: bool) -> None:
    """Write .env.example, every setting with its default."""
    from tallypost_cli import settings_files

    with _errors_told():
        settings_files.write_env_example(folders.checkout_folder(), _say, check=check)


def _say(line: str) -> None:
    # echo flushes each line. Nobody may be reading any more; the servers go on nevertheless.
    try:
        click.echo(line)
    except BrokenPipeError:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 kept for good


def _ask(question: str) -> bool:
    return click.confirm(question, err=True)


def _agree(_question: str) -> bool:
    return True


@contextmanager
def _errors_told() -> Iterator[None]:
    """Tell what a person can mend as plain lines, which keep commands and paths in one piece."""
    try:
        yield
    except SettingsError as error:
        click.echo(f"{error}\nEvery setting is described in docs/settings.md.", err=True)
    except StartUpError as error:
        click.echo(str(error), err=True)
    else:
        return
    raise SystemExit(1)
