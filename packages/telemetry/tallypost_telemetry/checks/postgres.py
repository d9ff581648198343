"""Readiness of PostgreSQL."""

import asyncpg

from tallypost_core.settings import Secret
from tallypost_telemetry.ops import CHECK_TIMEOUT_S, Check


def check_postgres(url: Secret) -> Check:
    """A check that logs in and runs `select 1`; it keeps no connection between checks.

    A fresh login proves what a kept connection does not: that the role may still log in and
    that the server has room for it.
    """

    async def check() -> None:
        connection = await asyncpg.connect(url.reveal(), timeout=CHECK_TIMEOUT_S)
        try:
            await connection.fetchval("select 1", timeout=CHECK_TIMEOUT_S)
            await connection.close(timeout=CHECK_TIMEOUT_S)
        finally:
            if not connection.is_closed():
                # Interrupted: a second wait for a server that does not answer helps nobody.
                connection.terminate()

    return check
