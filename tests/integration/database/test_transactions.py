"""A transaction is committed as a whole, or whoever ran it learns that it was not."""

import asyncpg
import pytest

from tallypost_domain.db.pools import NothingCommitted, Pool, transaction
from tests.support.database import Database, SeededTenant


async def _pass_over_a_failure(pool: Pool, tenant: SeededTenant) -> None:
    async with transaction(pool, [tenant.id]) as connection:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("SELECT 1 / 0")


async def test_block_that_passes_over_a_failed_statement_is_told_that_nothing_was_committed(
    database: Database, tenant: SeededTenant
) -> None:
    async with database.pool("tp_deliver", size=1) as pool:
        with pytest.raises(NothingCommitted):
            await _pass_over_a_failure(pool, tenant)
        async with transaction(pool, [tenant.id]) as connection:
            assert await connection.fetchval("SELECT count(*) FROM tenants") == 1
