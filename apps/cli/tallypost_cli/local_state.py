"""What `up` remembers between starts: the databases' ports, and which migrations were applied."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

import tallypost_domain
from tallypost_cli import folders

_FILE_NAME = "state.json"


class LocalState(Struct, frozen=True):
    """The remembered facts; each is a hint that is checked before it is relied upon.

    applied is the fingerprint of the migrations, passwords and server that were last brought
    together, revision is what the database was at then.
    """

    postgres_port: int | None = None
    redis_port: int | None = None
    applied: str = ""
    revision: str = ""


def load(folder: Path) -> LocalState:
    """Read the remembered facts; none where the file is missing or unreadable."""
    try:
        return msgspec.json.decode((folder / _FILE_NAME).read_bytes(), type=LocalState)
    except (FileNotFoundError, msgspec.DecodeError):
        return LocalState()


def save(folder: Path, state: LocalState) -> None:
    """Replace the remembered facts."""
    text = json.dumps(msgspec.to_builtins(state), indent=2)
    folders.write_private_file(folder / _FILE_NAME, text + "\n")


def replace(state: LocalState, **facts: str | int) -> LocalState:
    """The same facts, but for those that are given by name."""
    return msgspec.structs.replace(state, **facts)


def fingerprint(server: str, passwords: Iterable[str]) -> str:
    """A digest that differs once a migration, a role's password or the server differs.

    Reads the migrations as files: importing Alembic to ask for the newest revision takes longer
    than the databases take to start.
    """
    digest = hashlib.sha256()
    for part in (server, *passwords):
        digest.update(part.encode() + b"\0")
    migrations = Path(tallypost_domain.__path__[0]) / "db" / "migrations"
    for path in sorted(migrations.rglob("*")):
        if path.suffix in (".py", ".sql"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
