"""`tallypost settings`: the files made from the settings, and whether they are up to date."""

from pathlib import Path

from tallypost_cli.errors import StartUpError
from tallypost_cli.supervisor import Say
from tallypost_core.settings.reference import (
    ENV_EXAMPLE_PATH,
    REFERENCE_PATH,
    render_env_example,
    render_reference,
)


def write_reference(checkout: Path, say: Say, *, check: bool) -> None:
    """Write docs/settings.md, or with `check` raise StartUpError where it would change."""
    _write(checkout / REFERENCE_PATH, render_reference(), say, check=check)


def write_env_example(checkout: Path, say: Say, *, check: bool) -> None:
    """Write .env.example, or with `check` raise StartUpError where it would change."""
    _write(checkout / ENV_EXAMPLE_PATH, render_env_example(), say, check=check)


def _write(path: Path, text: str, say: Say, *, check: bool) -> None:
    present = path.read_text(encoding="utf-8") if path.exists() else None
    if present == text:
        say(f"{path.name} is up to date")
    elif check:
        raise StartUpError(f"{path} is not up to date; run `make settings` and commit it.")
    else:
        path.write_text(text, encoding="utf-8")
        say(f"Wrote {path}")
