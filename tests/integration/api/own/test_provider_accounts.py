"""A program keeps, changes, checks and deletes its tenant's accounts, and never reads a secret."""

from uuid import UUID

import httpx
import pytest

from tallypost_core.settings.tenant_accounts import TenantAccountsSettings
from tallypost_domain.routing.directory import RoutingDirectory
from tallypost_simulators.ses_account import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tallypost_simulators.ses_simulator import SESSimulator
from tallypost_worker.account_checks import AccountChecks
from tallypost_worker.tenant_accounts import TenantAccounts
from tests.integration.api.conftest import client_of
from tests.integration.api.own.problems import is_problem
from tests.support.api_server import RunningAPI
from tests.support.database import KEY_RING, Database, SeededTenant

PATH = "/provider-accounts"
PASSWORD = "correct-horse-battery"
RELAY = {
    "name": "Own relay",
    "provider": "smtp",
    "settings": {"host": "smtp.example.net", "username": "sample", "password": PASSWORD},
}
NOBODYS = "01a20000-0000-7000-8000-000000000000"


async def create(client: httpx.AsyncClient, **changes: object) -> str:
    response = await client.post(PATH, json=RELAY | changes)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def test_account_is_kept_with_its_defaults_and_shown_without_its_secrets(
    client: httpx.AsyncClient,
) -> None:
    created = await client.post(PATH, json=RELAY)
    assert created.status_code == 201
    account = created.json()
    assert account["settings"] == {
        "host": "smtp.example.net",
        "port": 587,
        "security": "starttls",
        "username": "sample",
        "connections": 5,
    }
    assert (account["name"], account["enabled"], account["secrets"]) == (
        "Own relay",
        True,
        ["password"],
    )
    assert account["check"] == {"under_way": True, "checked_at": None, "steps": []}
    assert account["trouble"] is None
    one, every = await client.get(f"{PATH}/{account['id']}"), await client.get(PATH)
    assert one.json() == account
    assert every.json() == {"data": [account]}
    assert PASSWORD not in created.text + one.text + every.text


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"name": ""}, 422, "invalid_provider_account_name", "name"),
        ({"provider": "pigeon"}, 422, "unknown_provider", "provider"),
        ({"settings": {}}, 422, "invalid_account_settings", "settings.host"),
        ({"settings": {"host": "10.0.0.1"}}, 422, "invalid_account_settings", "settings.host"),
        ({"settings": {"host": ["a"]}}, 422, "invalid_account_settings", "settings.host"),
        ({"settings": {"host": {"a": 1}}}, 422, "invalid_account_settings", "settings.host"),
        (
            {"settings": {"host": "a.example", "port": 22}},
            422,
            "invalid_account_settings",
            "settings.port",
        ),
        (
            {"settings": {"host": "a.example", "port": 465}},
            422,
            "invalid_account_settings",
            "settings.security",
        ),
        (
            {"settings": {"host": "a.example", "x": 1}},
            422,
            "invalid_account_settings",
            "settings.x",
        ),
        ({"settings": []}, 422, "wrong_type", "settings"),
        ({"colour": "red"}, 422, "unknown_field", "colour"),
    ],
)
async def test_what_cannot_be_used_is_refused_by_its_name(
    client: httpx.AsyncClient, changes: dict[str, object], status: int, code: str, field: str
) -> None:
    response = await client.post(PATH, json=RELAY | changes)
    assert is_problem(response, status, code, field=field)
    assert f"`{field}`" in response.json()["detail"] or not field.startswith("settings.")
    assert PASSWORD not in response.text
    assert (await client.get(PATH)).json() == {"data": []}


async def test_change_keeps_what_it_leaves_out_secrets_included(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(client)
    changed = await client.patch(
        f"{PATH}/{account_id}", json={"name": "Renamed", "settings": {"port": 2525}}
    )
    assert changed.status_code == 200
    account = changed.json()
    assert (account["name"], account["settings"]["port"]) == ("Renamed", 2525)
    assert account["settings"]["username"] == "sample"
    assert account["secrets"] == ["password"]
    off = await client.patch(f"{PATH}/{account_id}", json={"enabled": False})
    assert off.json() == account | {"enabled": False}
    async with database.pool("tp_deliver") as pool:
        directory = RoutingDirectory(pool, KEY_RING)
        stored = await directory.find_account(tenant.id, UUID(account_id))
    assert stored is not None
    assert stored.secrets == {"password": PASSWORD}


async def test_password_is_not_sent_to_another_host_unasked(client: httpx.AsyncClient) -> None:
    account_id = await create(client)
    moved = await client.patch(
        f"{PATH}/{account_id}", json={"settings": {"host": "smtp.example.org"}}
    )
    assert is_problem(moved, 422, "invalid_account_settings", field="settings.password")
    kept = (await client.get(f"{PATH}/{account_id}")).json()
    assert kept["settings"]["host"] == "smtp.example.net"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"host": ["a"]}, "settings.host"),
        ({"connections": {"most": 3}}, "settings.connections"),
        ({"password": [PASSWORD]}, "settings.password"),
        ({"port": 465}, "settings.security"),
        ({"x": 1}, "settings.x"),
    ],
)
async def test_change_that_cannot_be_used_is_refused_by_its_place(
    client: httpx.AsyncClient, settings: dict[str, object], field: str
) -> None:
    account_id = await create(client)
    refused = await client.patch(f"{PATH}/{account_id}", json={"settings": settings})
    assert is_problem(refused, 422, "invalid_account_settings", field=field)
    assert f"`{field}`" in refused.json()["detail"]
    assert PASSWORD not in refused.text


async def test_password_reaches_the_relay_as_it_was_given(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    login = {"host": "smtp.example.net", "username": "sample", "password": "  p w "}
    account_id = await create(client, settings=login)
    async with database.pool("tp_deliver") as pool:
        stored = await RoutingDirectory(pool, KEY_RING).find_account(tenant.id, UUID(account_id))
    assert stored is not None
    assert stored.secrets == {"password": "  p w "}


async def test_second_account_of_a_name_is_refused(client: httpx.AsyncClient) -> None:
    await create(client)
    assert is_problem(
        await client.post(PATH, json=RELAY), 409, "provider_account_name_taken", field="name"
    )


async def test_account_is_deleted_unless_a_route_names_it(client: httpx.AsyncClient) -> None:
    account_id = await create(client)
    routes = {"routes": [{"accounts": [account_id, "platform"]}]}
    assert (await client.put("/routes", json=routes)).status_code == 200
    assert is_problem(await client.delete(f"{PATH}/{account_id}"), 409, "provider_account_in_use")
    assert (await client.put("/routes", json={"routes": []})).status_code == 200
    assert (await client.delete(f"{PATH}/{account_id}")).status_code == 204
    assert is_problem(await client.get(f"{PATH}/{account_id}"), 404, "provider_account_not_found")


async def test_check_tells_each_step_once_a_worker_has_made_it(
    client: httpx.AsyncClient, database: Database
) -> None:
    settings = {"region": "eu-west-1", "access_key_id": ACCESS_KEY_ID}
    account_id = await create(
        client, provider="ses", settings=settings | {"secret_access_key": SECRET_ACCESS_KEY}
    )
    async with (
        SESSimulator() as ses,
        database.pool("tp_deliver") as deliver,
        database.pool("tp_worker") as pool,
    ):
        worker = AccountChecks(
            pool,
            RoutingDirectory(deliver, KEY_RING),
            TenantAccounts(TenantAccountsSettings(ses_endpoint=ses.url)),
        )
        await worker.check_due()
        checked = (await client.get(f"{PATH}/{account_id}")).json()["check"]
        asked = await client.post(f"{PATH}/{account_id}/check")
    assert (checked["under_way"], checked["checked_at"] is None) == (False, False)
    assert {step["state"] for step in checked["steps"]} <= {"good", "warning"}
    assert asked.status_code == 202
    assert asked.json()["check"]["under_way"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("POST", "/check", None),
    ],
)
async def test_second_tenant_and_a_made_up_id_find_nothing(
    client: httpx.AsyncClient,
    other_client: httpx.AsyncClient,
    method: str,
    path: str,
    body: dict[str, object] | None,
) -> None:
    account_id = await create(client)
    for asked in (account_id, NOBODYS, "nonsense"):
        answer = await other_client.request(method, f"{PATH}/{asked}{path}", json=body)
        assert is_problem(answer, 404, "provider_account_not_found")
    assert (await other_client.get(PATH)).json() == {"data": []}
    assert (await client.get(f"{PATH}/{account_id}")).json()["enabled"]


async def test_test_key_reads_and_changes_nothing(
    client: httpx.AsyncClient, sandbox_client: httpx.AsyncClient
) -> None:
    account_id = await create(client)
    assert len((await sandbox_client.get(PATH)).json()["data"]) == 1
    for answer in (
        await sandbox_client.post(PATH, json=RELAY),
        await sandbox_client.patch(f"{PATH}/{account_id}", json={"enabled": False}),
        await sandbox_client.delete(f"{PATH}/{account_id}"),
        await sandbox_client.post(f"{PATH}/{account_id}/check"),
        await sandbox_client.put("/routes", json={"routes": []}),
    ):
        assert is_problem(answer, 403, "live_key_required")


async def test_key_that_may_only_send_sees_nothing(api: RunningAPI, tenant: SeededTenant) -> None:
    async with client_of(api, tenant.sending_key.token) as client:
        for path in (PATH, "/routes", "/domain-standings"):
            assert is_problem(await client.get(path), 403, "restricted_api_key")
