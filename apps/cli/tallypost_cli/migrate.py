"""`tallypost migrate`: the schema of this release, and logins for the apps' roles."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from tallypost_cli.environment import login_roles, url_variable
from tallypost_cli.errors import StartUpError
from tallypost_cli.running_system import find_addresses
from tallypost_cli.supervisor import Say
from tallypost_domain.db import migrate, roles


def run(folder: Path, environ: Mapping[str, str], say: Say, *, set_passwords: bool) -> None:
    """Apply missing migrations; with set_passwords open the roles whose addresses environ holds.

    Raises StartUpError where no database is known or it refuses.
    """
    owner_url = find_addresses(folder, environ).owner_url
    if owner_url is None:
        raise StartUpError(
            "No database: set TALLYPOST_DATABASE_OWNER_URL, or start one with `make up`, which "
            "also migrates it."
        )
    passwords = _passwords(environ) if set_passwords else {}
    try:
        revision = asyncio.run(_apply(owner_url, passwords))
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StartUpError(f"The database refused: {error}") from error
    say(f"The database is at revision {revision}")


async def _apply(owner_url: str, passwords: Mapping[str, str]) -> str | None:
    await migrate.upgrade(owner_url)
    await roles.set_passwords(owner_url, passwords)
    return await migrate.current_revision(owner_url)


def _passwords(environ: Mapping[str, str]) -> dict[str, str]:
    found = {role: urlsplit(environ.get(url_variable(role), "")).password for role in login_roles()}
    return {role: unquote(password) for role, password in found.items() if password}
