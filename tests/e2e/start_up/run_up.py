"""Runs `tallypost up` for real, but for the apps, which are fakes.

Usage: run_up.py DATA_FOLDER. The notes of each fake go to DATA_FOLDER/../notes/<app>.
"""

import os
import sys
from pathlib import Path

import click

from tallypost_cli import programs, up
from tallypost_cli.errors import StartUpError
from tallypost_core.settings import SettingsError

_FAKE_APP = Path(__file__).with_name("fake_app.py")


def main() -> None:
    """Run until stopped; ends with 1 and the reason where the system cannot start."""
    folder = Path(sys.argv[1])
    notes = folder.parent / "notes"
    notes.mkdir(exist_ok=True)
    descriptions = [
        programs.AppDescription(
            name=app.name,
            arguments=(str(_FAKE_APP), str(notes / app.name), app.port_variable),
            settings=app.settings,
            port_variable=app.port_variable,
            default_port=app.default_port,
            speaks_http=app.speaks_http,
        )
        for app in programs.APPS
    ]
    try:
        up.run(folder, os.environ, click.echo, descriptions)
    except (SettingsError, StartUpError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
