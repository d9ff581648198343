"""An account whose secrets cannot be opened any more, and a change that changes nothing."""

import httpx

from tests.integration.api.own.problems import is_problem
from tests.integration.api.own.test_provider_accounts import NOBODYS, PASSWORD, PATH, RELAY, create
from tests.integration.routing.samples import break_secrets
from tests.support.database import TEST_READER, Database, SeededTenant


async def count_acts(database: Database, tenant: SeededTenant) -> int:
    async with database.session(TEST_READER, tenant.id) as session:
        connection = await session.connection()
        row = await connection.exec_driver_sql("SELECT count(*) FROM audit_log")
        return int(row.scalar_one())


async def test_damaged_secrets_are_asked_for_by_name_and_may_be_given_again(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(client)
    await break_secrets(database, tenant)
    refused = await client.patch(f"{PATH}/{account_id}", json={"settings": {"connections": 3}})
    assert refused.status_code == 422, refused.text
    assert "password" in refused.json()["field"]
    given = await client.patch(f"{PATH}/{account_id}", json={"settings": {"password": PASSWORD}})
    assert given.status_code == 200, given.text
    later = await client.patch(f"{PATH}/{account_id}", json={"settings": {"connections": 3}})
    assert later.json()["settings"]["connections"] == 3


async def test_lost_key_is_told_as_such_and_what_needs_no_key_goes_on(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(client)
    async with database.session("tp_cli", tenant.id) as session:
        connection = await session.connection()
        await connection.exec_driver_sql("UPDATE tenant_data_keys SET ring_key_name = 'lost'")
    changed = await client.patch(f"{PATH}/{account_id}", json={"settings": {"connections": 3}})
    another = await client.post(PATH, json={**RELAY, "name": "Another"})
    for answer in (changed, another):
        assert is_problem(answer, 503, "key_missing"), answer.text
        assert "an operator has to mend that" in answer.json()["detail"]
    switched = await client.patch(f"{PATH}/{account_id}", json={"enabled": False})
    assert switched.json()["enabled"] is False
    assert is_problem(await client.get(f"{PATH}/{NOBODYS}"), 404, "provider_account_not_found")


async def test_change_that_is_sent_again_checks_nothing_and_is_nobodys_act(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(client)
    change = {"name": "Renamed", "enabled": False, "settings": {"connections": 3}}
    first = await client.patch(f"{PATH}/{account_id}", json=change)
    assert first.status_code == 200, first.text
    acts = await count_acts(database, tenant)
    same: list[dict[str, object]] = [change, {"settings": {}}, {"settings": {"password": PASSWORD}}]
    for body in same:
        again = await client.patch(f"{PATH}/{account_id}", json=body)
        assert again.json() == first.json()
    assert await count_acts(database, tenant) == acts
