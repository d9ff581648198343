"""People see their tenant's keys, make some and revoke some, and the audit log says who did."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.ids import new_id
from tallypost_domain.api_keys import administration
from tallypost_domain.api_keys.administration import (
    KeyView,
    create_for_person,
    list_keys,
    revoke_for_person,
)
from tallypost_domain.api_keys.errors import (
    APIKeyNotFound,
    InvalidAPIKey,
    InvalidKeyName,
    TooManyAPIKeys,
    UnknownStream,
)
from tallypost_domain.api_keys.service import KeyDirectory
from tallypost_domain.api_keys.types import CreatedKey
from tallypost_domain.audit.types import Actor
from tallypost_providers.types import Mode
from tests.support.database import PEPPERS, TEST_READER, Database, SeededTenant

SOMEBODY = Actor(kind="person", id=new_id())


@asynccontextmanager
async def page(database: Database, tenant: SeededTenant) -> AsyncIterator[AsyncSession]:
    """One request to the console."""
    async with database.session("tp_console", tenant.id) as session:
        yield session


# Any: what a person may fill in.
async def make(database: Database, tenant: SeededTenant, **fields: Any) -> CreatedKey:
    """A key made by a person."""
    values: dict[str, Any] = {
        "mode": "test",
        "name": "Shop",
        "permission": "sending_access",
        "stream": None,
        **fields,
    }
    async with page(database, tenant) as session:
        return await create_for_person(
            session, tenant.id, peppers=PEPPERS, actor=SOMEBODY, **values
        )


async def seen(
    database: Database, tenant: SeededTenant, mode: Mode | None = None
) -> tuple[KeyView, ...]:
    """The list as the console reads it."""
    async with page(database, tenant) as session:
        return await list_keys(session, tenant.id, mode)


async def audited(database: Database, tenant: SeededTenant) -> list[tuple[str, object, object]]:
    """What the audit log has."""
    async with database.session(TEST_READER, tenant.id) as session:
        rows = await session.execute(text("SELECT * FROM audit_log ORDER BY sequence"))
        return [(row.action, row.actor_id, row.subject_id) for row in rows]


async def test_list_shows_a_tenants_keys_without_what_could_be_used(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    own = {tenant.live_key.id, tenant.test_key.id, tenant.sending_key.id}
    keys = await seen(database, tenant)
    assert {key.id for key in keys} == own
    assert {key.id for key in await seen(database, tenant, "test")} == {tenant.test_key.id}
    (sending,) = [key for key in keys if key.id == tenant.sending_key.id]
    token = tenant.sending_key.token
    assert (sending.start, sending.last_four) == (token[:12], token[-4:])
    assert (sending.name, sending.mode, sending.permission) == ("sending", "live", "sending_access")
    assert token not in repr(keys)
    assert other_tenant.live_key.id not in own


async def test_console_cannot_read_what_a_key_is_recognised_by(
    database: Database, tenant: SeededTenant
) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with page(database, tenant) as session:
            await session.execute(text("SELECT key_hash FROM api_keys"))


async def test_key_that_a_person_made_works_and_is_shown_first(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    key = await make(database, tenant, name="  The   shop ", stream="bulk")
    async with database.sessions("tp_api") as sessions:
        principal = await KeyDirectory(sessions, PEPPERS).authenticate(key.token)
    assert (principal.tenant_id, principal.api_key_id) == (tenant.id, key.id)
    assert (principal.mode, principal.permission, principal.stream) == (
        "test",
        "sending_access",
        "bulk",
    )
    first = (await seen(database, tenant))[0]
    assert (first.id, first.name, first.stream) == (key.id, "The shop", "bulk")
    assert await audited(database, tenant) == [("api_key.created", SOMEBODY.id, key.id)]
    assert key.id not in {other.id for other in await seen(database, other_tenant)}


@pytest.mark.parametrize("name", ["", "   ", "a" * 101, "a\x00b", "a\u202eb", "a\ud800"])
async def test_name_that_cannot_be_read_is_refused(
    database: Database, tenant: SeededTenant, name: str
) -> None:
    with pytest.raises(InvalidKeyName) as refused:
        await make(database, tenant, name=name)
    assert refused.value.field == "name"
    assert await audited(database, tenant) == []


async def test_stream_that_the_tenant_does_not_have_is_refused(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    async with database.session("tp_cli", other_tenant.id) as session:
        await session.execute(
            text("INSERT INTO streams VALUES (:t, 'news', 'bulk', 'hold')"), {"t": other_tenant.id}
        )
    await make(database, other_tenant, stream="news")
    with pytest.raises(UnknownStream) as refused:
        await make(database, tenant, stream="news")
    assert refused.value.field == "stream"


async def test_keys_of_a_tenant_have_a_bound_that_revoked_ones_do_not_count_for(
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(administration, "MAX_KEYS", 3)
    with pytest.raises(TooManyAPIKeys):
        await make(database, tenant)
    async with page(database, tenant) as session:
        await revoke_for_person(session, tenant.id, tenant.test_key.id, actor=SOMEBODY)
    await make(database, tenant)


async def test_revoked_key_stays_in_the_list_and_is_refused(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for _ in range(2):
        async with page(database, tenant) as session:
            await revoke_for_person(session, tenant.id, tenant.live_key.id, actor=SOMEBODY)
    *working, last = await seen(database, tenant)
    assert last.id == tenant.live_key.id
    assert last.revoked_at is not None
    assert [key.revoked_at for key in working] == [None, None]
    # The second time nothing was done that a log could tell.
    assert await audited(database, tenant) == [("api_key.revoked", SOMEBODY.id, tenant.live_key.id)]
    async with database.sessions("tp_api") as sessions:
        keys = KeyDirectory(sessions, PEPPERS)
        with pytest.raises(InvalidAPIKey):
            await keys.authenticate(tenant.live_key.token)
        await keys.authenticate(other_tenant.live_key.token)


async def test_anothers_key_is_unknown(
    database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for key_id in (other_tenant.live_key.id, new_id()):
        with pytest.raises(APIKeyNotFound):
            async with page(database, tenant) as session:
                await revoke_for_person(session, tenant.id, key_id, actor=SOMEBODY)
    assert [key.revoked_at for key in await seen(database, other_tenant)] == [None] * 3
    assert await audited(database, tenant) == []
