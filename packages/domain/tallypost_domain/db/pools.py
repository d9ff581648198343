"""Raw asyncpg pools for the hot path: accept, claim and record."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from tallypost_domain.db.errors import AWAY, translated

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[Any]
    Connection: TypeAlias = asyncpg.Connection[Any]
else:
    # asyncpg's classes are generic for type checkers only.
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection

# Every statement of the hot path finds its rows by key, whatever statistics say. A fresh partition
# has none: it would be read from end to end, and the plan kept while it grows.
_BY_KEY_ONLY = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # A plan made anew for each call costs more than what it does.
    "plan_cache_mode": "force_generic_plan",
}


class NothingCommitted(Exception):
    """A statement of the transaction had failed, so that the server rolled it back at COMMIT."""


async def create_pool(url: str, *, size: int, app: str) -> Pool:
    """A pool on one role's login, with jsonb as Python values and without a reset round trip.

    Without the reset (measured 19.1k to 34.8k selects/s on a prototype) a connection must be
    given back clean: every caller here uses transactions with transaction-local settings only.
    """
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        timeout=5,
        command_timeout=10,
        init=_init,
        reset=_no_reset,
        server_settings={
            "application_name": app,
            "statement_timeout": "10000",
            "idle_in_transaction_session_timeout": "5000",
            "lock_timeout": "5000",
            **_BY_KEY_ONLY,
        },
    )


@asynccontextmanager
async def transaction(
    pool: Pool, tenant_ids: Iterable[UUID], *, lock_timeout_ms: int | None = None
) -> AsyncIterator[Connection]:
    """One transaction that sees the rows of the named tenants, for the roles that serve many.

    lock_timeout_ms is how long a statement waits for a lock, in the place of the pool's setting.
    Raises DatabaseUnavailable where the server is away, and NothingCommitted where a statement had
    failed and the block went on as if it had not.
    """
    begin = f"BEGIN; {_naming(tenant_ids)}"
    if lock_timeout_ms is not None:
        begin += f"; SET LOCAL lock_timeout = {lock_timeout_ms}"
    with translated():
        async with pool.acquire() as connection:
            try:
                # One round trip for all; ids need no quoting.
                await connection.execute(begin)
                yield connection
                await _commit(connection)
            except BaseException:
                await _roll_back(connection)
                raise


async def name_tenants(connection: Connection, tenant_ids: Iterable[UUID]) -> None:
    """Let the rest of the running transaction see the rows of these tenants."""
    await connection.execute(_naming(tenant_ids))


def _naming(tenant_ids: Iterable[UUID]) -> str:
    names = ",".join({str(tenant_id) for tenant_id in tenant_ids})
    return f"SELECT set_config('app.tenant_ids', '{{{names}}}', true)"


async def _commit(connection: Connection) -> None:
    if await connection.execute("COMMIT") != "COMMIT":
        raise NothingCommitted


async def _roll_back(connection: Connection) -> None:
    # What broke the transaction is what the caller has to learn, not that the connection is gone.
    # One that is not certain to be clean must not go back into the pool.
    try:
        with suppress(*AWAY):
            if not connection.is_closed() and connection.is_in_transaction():
                await connection.execute("ROLLBACK")
    finally:
        if connection.is_closed() or connection.is_in_transaction():
            connection.terminate()


async def _init(connection: Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )


async def _no_reset(connection: Connection) -> None:
    del connection
