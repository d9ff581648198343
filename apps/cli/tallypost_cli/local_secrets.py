"""The secrets of a local installation: made once, kept in `.tallypost/secrets.env` (0600)."""

import base64
import secrets
from pathlib import Path

from msgspec import Struct

from tallypost_cli import folders
from tallypost_cli.errors import StartUpError

FILE_NAME = "secrets.env"

_NOTE = "Made by `tallypost up`. Without it the data in this folder cannot be read."
_ROLE_PREFIX = "PASSWORD_OF_"


class LocalSecrets(Struct, frozen=True):
    """Key ring and peppers as the apps read them, and the passwords of the databases."""

    key_ring: str
    peppers: str
    superuser_password: str
    owner_password: str
    redis_password: str
    role_passwords: dict[str, str]


def load_or_make(folder: Path, roles: tuple[str, ...]) -> LocalSecrets:
    """Read the secrets of a data folder and make those that are missing.

    A role that a later release adds gets its password then. Raises StartUpError where data is
    there and its secrets are not: new ones would only make the loss permanent.
    """
    path = folder / FILE_NAME
    found = folders.read_assignments(path)
    if not found and (folder / "postgres").exists():
        raise StartUpError(
            f"{path} is missing, and without its keys the data beside it cannot be read. Put it "
            "back, or start afresh with `make clean-data`."
        )
    made = {name: found.get(name) or make() for name, make in _MAKERS.items()}
    for role in roles:
        name = _ROLE_PREFIX + role.upper()
        made[name] = found.get(name) or _password()
    if made != found:
        folders.write_assignments(path, _NOTE, made)
    return LocalSecrets(
        key_ring=made["KEY_RING"],
        peppers=made["PEPPERS"],
        superuser_password=made["POSTGRES_SUPERUSER_PASSWORD"],
        owner_password=made["POSTGRES_OWNER_PASSWORD"],
        redis_password=made["REDIS_PASSWORD"],
        role_passwords={role: made[_ROLE_PREFIX + role.upper()] for role in roles},
    )


def _named_key() -> str:
    return "local:" + base64.b64encode(secrets.token_bytes(32)).decode()


def _password() -> str:
    # URL-safe letters only: the value goes into addresses, SQL and configuration files as it is.
    return secrets.token_urlsafe(24)


_MAKERS = {
    "KEY_RING": _named_key,
    "PEPPERS": _named_key,
    "POSTGRES_SUPERUSER_PASSWORD": _password,
    "POSTGRES_OWNER_PASSWORD": _password,
    "REDIS_PASSWORD": _password,
}
