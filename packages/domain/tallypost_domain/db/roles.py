"""The database's login roles, one for each kind of process, and their passwords.

The migrations create the roles without login; `set_passwords` opens them. What each may do is
granted in the migrations and proved by the catalogue test.
"""

from collections.abc import Mapping

import asyncpg

LOGIN_ROLES: tuple[str, ...] = (
    "tp_api",
    "tp_accept",
    "tp_deliver",
    "tp_worker",
    "tp_billing",
    "tp_console",
    "tp_templates",
    "tp_bounces",
    "tp_inbox",
    "tp_cli",
)

FUNCTION_OWNERS: tuple[str, ...] = ("tp_lookup", "tp_system")
"""Roles that nobody logs in as; each owns the SECURITY DEFINER functions of one kind."""


async def set_passwords(owner_url: str, passwords: Mapping[str, str]) -> None:
    """Let each named role log in with its password.

    owner_url must be of a role that may alter the login roles. Raises ValueError for a name that
    is not in LOGIN_ROLES.
    """
    unknown = sorted(set(passwords) - set(LOGIN_ROLES))
    if unknown:
        raise ValueError(f"not a login role: {', '.join(unknown)}")
    connection = await asyncpg.connect(owner_url)
    try:
        async with connection.transaction():
            for role, password in passwords.items():
                # ALTER ROLE takes no parameters; quote_literal is the server's own quoting.
                quoted = await connection.fetchval("SELECT quote_literal($1)", password)
                await connection.execute(f"ALTER ROLE {role} LOGIN PASSWORD {quoted}")
    finally:
        await connection.close()
