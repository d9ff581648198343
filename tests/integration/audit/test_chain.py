"""The audit log, as its writers make it and as somebody who tampers with it leaves it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tallypost_core.ids import new_id
from tallypost_domain.audit import service as audit
from tallypost_domain.audit.types import Actor, Verification
from tests.support.backends import PostgresLogins
from tests.support.database import Database, SeededTenant, with_database

SYSTEM = Actor(kind="system")
PERSON = Actor(kind="person", id=new_id(), ip_address="192.0.2.7", user_agent="Browser/1.0\n")


async def record(database: Database, tenant: SeededTenant, action: str = "key.created") -> UUID:
    async with database.session("tp_console", tenant.id) as session:
        return await audit.record(
            session,
            tenant.id,
            action,
            actor=PERSON,
            subject_kind="api_key",
            subject_id=new_id(),
            changes={"mode": "live", "count": 3, "is_new": True, "before": None},
        )


async def verify(database: Database, tenant: SeededTenant) -> Verification:
    async with database.session("tp_console", tenant.id) as session:
        return await audit.verify(session, tenant.id)


@asynccontextmanager
async def tampering(
    postgres: PostgresLogins, database: Database
) -> "AsyncIterator[asyncpg.Connection[Any]]":
    connection = await asyncpg.connect(with_database(postgres.superuser_url, database.name))
    try:
        yield connection
    finally:
        await connection.close()


async def test_chain_begins_with_zeros_and_counts_from_one(
    database: Database, tenant: SeededTenant
) -> None:
    await record(database, tenant)
    async with database.connect("tp_console") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        row = await connection.fetchrow("SELECT sequence, previous_hash, hash FROM audit_log")
    assert (row["sequence"], row["previous_hash"]) == (1, bytes(32))
    assert len(row["hash"]) == 32


async def test_intact_chain_is_verified_to_its_end(
    database: Database, tenant: SeededTenant
) -> None:
    for _ in range(3):
        await record(database, tenant)
    verification = await verify(database, tenant)
    assert verification.broken_at is None
    assert verification.entries == 3
    assert verification.last_hash != bytes(32)


async def test_empty_chain_is_intact(database: Database, tenant: SeededTenant) -> None:
    assert await verify(database, tenant) == Verification(0, bytes(32), None)


async def test_chain_longer_than_a_batch_is_verified(
    database: Database, tenant: SeededTenant
) -> None:
    async with database.session("tp_console", tenant.id) as session:
        for _ in range(501):
            await audit.record(session, tenant.id, "sample.written", actor=SYSTEM)
    assert (await verify(database, tenant)).entries == 501


async def test_each_tenant_has_a_chain_of_its_own(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await record(database, tenant)
    await record(database, other_tenant)
    await record(database, tenant)
    assert (await verify(database, tenant)).entries == 2
    assert (await verify(database, other_tenant)).entries == 1


async def test_writers_at_the_same_time_make_one_chain(
    database: Database, tenant: SeededTenant
) -> None:
    await asyncio.gather(*(record(database, tenant) for _ in range(8)))
    verification = await verify(database, tenant)
    assert verification.broken_at is None
    assert verification.entries == 8


async def test_entry_goes_with_the_transaction_of_its_act(
    database: Database, tenant: SeededTenant
) -> None:
    async def act_and_fail() -> None:
        async with database.session("tp_console", tenant.id) as session:
            await audit.record(session, tenant.id, "key.created", actor=SYSTEM)
            raise RuntimeError("the act failed")

    with pytest.raises(RuntimeError, match="the act failed"):
        await act_and_fail()
    assert (await verify(database, tenant)).entries == 0


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE audit_log SET action = 'key.revoked' WHERE sequence = 2",
        'UPDATE audit_log SET changes = \'{"mode": "test"}\' WHERE sequence = 2',
        "UPDATE audit_log SET actor_id = NULL WHERE sequence = 2",
        "UPDATE audit_log SET user_agent = 'Other/1.0' WHERE sequence = 2",
        "UPDATE audit_log SET created_at = created_at - interval '1 us' WHERE sequence = 2",
        "UPDATE audit_log SET hash = previous_hash WHERE sequence = 2",
        "DELETE FROM audit_log WHERE sequence = 2",
    ],
)
async def test_changed_or_removed_entry_is_found(
    postgres: PostgresLogins, database: Database, tenant: SeededTenant, tamper: str
) -> None:
    for _ in range(3):
        await record(database, tenant)
    async with tampering(postgres, database) as connection:
        assert (await connection.execute(tamper)).endswith(" 1")
    verification = await verify(database, tenant)
    assert (verification.entries, verification.broken_at) == (1, 2)


@pytest.mark.parametrize("role", ["tp_console", "tp_cli"])
@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log"]
)
async def test_no_writer_may_change_or_remove_an_entry(
    database: Database, role: str, statement: str
) -> None:
    async with database.connect(role) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


@pytest.mark.parametrize("value", ["Ada Sample", "ada@example.com", "two\nlines", "ä"])
async def test_free_text_in_changes_is_refused(
    database: Database, tenant: SeededTenant, value: str
) -> None:
    async with database.session("tp_console", tenant.id) as session:
        with pytest.raises(ValueError, match="bare word"):
            await audit.record(
                session, tenant.id, "person.renamed", actor=SYSTEM, changes={"name": value}
            )


async def test_act_that_may_be_repeated_is_written_once_of_each_subject(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    first, second = new_id(), new_id()

    async def record_once(of: SeededTenant, subject_id: UUID, action: str) -> None:
        async with database.session("tp_console", of.id) as session:
            await audit.record_once(
                session,
                of.id,
                action,
                actor=PERSON,
                subject_kind="email",
                subject_id=subject_id,
            )

    await asyncio.gather(*(record_once(tenant, first, "email.resent") for _ in range(5)))
    await record_once(tenant, second, "email.resent")
    await record_once(tenant, first, "email.read")
    await record_once(other_tenant, first, "email.resent")
    assert (await verify(database, tenant)).entries == 3
    assert (await verify(database, other_tenant)).entries == 1
