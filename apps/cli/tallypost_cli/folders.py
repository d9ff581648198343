"""Where a checkout keeps what it makes: all in the git-ignored folder `.tallypost/`."""

import contextlib
import os
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[3]


def checkout_folder() -> Path:
    """The checkout that this program was installed from; else the current folder."""
    return _CHECKOUT if (_CHECKOUT / "pyproject.toml").is_file() else Path.cwd()


def default_data_folder() -> Path:
    """Where `up` keeps databases, secrets and logs unless told otherwise."""
    return checkout_folder() / ".tallypost"


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter; an existing one keeps its mode."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private_file(path: Path, text: str) -> None:
    """Replace a 0600 file at once, so that a reader sees the old text or the new, never half."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        unfinished.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()


def read_assignments(path: Path) -> dict[str, str]:
    """Read NAME=value lines; empty where the file is missing. Lines starting with # are notes."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def write_assignments(path: Path, note: str, values: dict[str, str]) -> None:
    """Write NAME=value lines to a 0600 file, under one line that says what it is."""
    lines = (f"{name}={value}\n" for name, value in values.items())
    write_private_file(path, f"# {note}\n" + "".join(lines))
