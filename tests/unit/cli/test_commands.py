"""The command line itself: help everywhere, and files made from the settings."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tallypost_cli import settings_files
from tallypost_cli.errors import StartUpError
from tallypost_cli.main import main


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            found += _commands(child, (*path, name))
    return found


@pytest.mark.parametrize("path", _commands(main), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_does_not_import_what_commands_need() -> None:
    script = (
        "import sys\n"
        "from tallypost_cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'alembic', 'asyncpg', 'cryptography', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert finished.stderr == ""


def test_a_generated_file_that_is_out_of_date_is_refused_and_then_written(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    said: list[str] = []
    with pytest.raises(StartUpError, match="make settings"):
        settings_files.write_reference(tmp_path, said.append, check=True)
    settings_files.write_reference(tmp_path, said.append, check=False)
    settings_files.write_reference(tmp_path, said.append, check=True)
    assert said[-1] == "settings.md is up to date"


def test_a_command_that_cannot_run_says_why_and_exits_with_1(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["migrate", "--data-folder", str(tmp_path)])
    assert result.exit_code == 1
    assert "TALLYPOST_DATABASE_OWNER_URL" in result.output
    assert "Traceback" not in result.output
