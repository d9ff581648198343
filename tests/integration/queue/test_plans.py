"""A connection lives long and keeps its plans: one made on a small table must suit a great one."""

import pytest

from tallypost_domain.db.pools import transaction
from tests.integration.queue.harness import Harness
from tests.support.database import SeededTenant

_KEYS = {
    "send_queue": "email_id",
    "emails": "id",
    "recipients": "email_id",
    "email_contents": "email_id",
    "attempts": "email_id",
}


@pytest.mark.parametrize("table", _KEYS)
async def test_rows_are_found_by_their_whole_key_while_the_table_is_empty(
    queue: Harness, tenant: SeededTenant, table: str
) -> None:
    key = _KEYS[table]
    async with transaction(queue.pool, [tenant.id]) as connection:
        await connection.execute(
            "PREPARE find_rows (uuid[], uuid[]) AS "  # noqa: S608 - names of this file
            "SELECT 1 FROM unnest($1, $2) AS c (tenant_id, email_id) "
            f"JOIN {table} t ON t.tenant_id = c.tenant_id AND t.{key} = c.email_id"
        )
        plan = await connection.fetch("EXPLAIN EXECUTE find_rows ('{}', '{}')")
        await connection.execute("DEALLOCATE find_rows")
    text = "\n".join(row[0] for row in plan)
    assert f"Index Cond: ((tenant_id = c.tenant_id) AND ({key} = c.email_id))" in text


async def test_every_policy_of_named_tenants_keeps_its_condition_from_the_indexes(
    queue: Harness,
) -> None:
    conditions = await queue.reader.fetch(
        "SELECT tablename, qual FROM pg_policies WHERE policyname = 'named_tenants'"
    )
    assert len(conditions) > len(_KEYS)
    assert [row["tablename"] for row in conditions if not row["qual"].endswith("IS TRUE)")] == []
