"""Chores drain what is due for every tenant, keep what is not, and may run twice."""

import pytest

from tallypost_core.ids import new_id
from tallypost_worker import chores
from tests.integration.queue.harness import Harness
from tests.support.database import SeededTenant


async def _insert(
    queue: Harness, role: str, owner: SeededTenant, statement: str, *arguments: object
) -> None:
    setting = "app.tenant_ids" if role == "tp_accept" else "app.tenant_id"
    value = f"{{{owner.id}}}" if role == "tp_accept" else str(owner.id)
    async with queue.database.connect(role) as connection, connection.transaction():
        await connection.execute("SELECT set_config($1, $2, true)", setting, value)
        await connection.execute(statement, owner.id, *arguments)


async def _count(queue: Harness, role: str, owner: SeededTenant, table: str) -> int:
    async with queue.database.connect(role) as connection, connection.transaction():
        for setting, value in (
            ("app.tenant_id", str(owner.id)),
            ("app.tenant_ids", f"{{{owner.id}}}"),
        ):
            await connection.execute("SELECT set_config($1, $2, true)", setting, value)
        count: int = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - names of this file
        return count


async def test_idempotency_keys_are_kept_for_24_hours_and_then_forgotten(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chores, "_CHUNK", 2)
    statement = (
        "INSERT INTO idempotency_keys SELECT $1, 'live', 'POST /emails', $2 || n, '', '{}', "
        "now() - $3::text::interval FROM generate_series(1, 5) n"
    )
    for owner in (tenant, other_tenant):
        await _insert(queue, "tp_accept", owner, statement, "old", "24 hours 1 second")
        await _insert(queue, "tp_accept", owner, statement, "new", "23 hours 59 minutes")
    async with queue.database.pool("tp_worker") as pool:
        for _ in range(2):
            await chores.delete_expired_idempotency_keys({"pool": pool})
            for owner in (tenant, other_tenant):
                assert await _count(queue, "tp_accept", owner, "idempotency_keys") == 5


async def test_inbox_is_kept_for_a_week(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    statement = (
        "INSERT INTO inbox_messages VALUES ($1, $2, $3, 'test', '', '{}', '', 0, '', "
        "now() - $4::text::interval)"
    )
    for owner in (tenant, other_tenant):
        for age in ("7 days 1 second", "6 days 23 hours"):
            await _insert(queue, "tp_inbox", owner, statement, new_id(), new_id(), age)
    async with queue.database.pool("tp_worker") as pool:
        for _ in range(2):
            await chores.delete_old_inbox_messages({"pool": pool})
            for owner in (tenant, other_tenant):
                assert await _count(queue, "tp_console", owner, "inbox_messages") == 1


async def test_partitions_are_made_ahead_and_making_them_twice_is_harmless(queue: Harness) -> None:
    async with queue.database.pool("tp_worker") as pool:
        for _ in range(2):
            await chores.create_partitions({"pool": pool})
