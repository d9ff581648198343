"""A program reads and replaces its tenant's routes, and sees where its domains stand."""

from collections.abc import Callable

import httpx
import pytest

from tallypost_domain.domains import service as domains
from tallypost_domain.routing import standings
from tallypost_domain.routing.standings import NewStanding
from tallypost_domain.routing.types import DomainRecord
from tests.integration.api.own.problems import is_problem
from tests.integration.routing.samples import create, note_standing, say_platform_has
from tests.support.database import Database, SeededTenant

PATH = "/routes"
NOBODYS = "01a20000-0000-7000-8000-000000000000"
PLAIN: dict[str, object] = {
    "domain": None,
    "domain_id": None,
    "lane": None,
    "tag_name": None,
    "tag_value": None,
    "share": 1.0,
}


async def test_list_is_kept_in_its_order(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    await say_platform_has(database, "ses")
    assert (await client.get(PATH)).json() == {"routes": []}
    asked: list[dict[str, object]] = [
        {
            "accounts": ["platform:ses"],
            "lane": "bulk",
            "domain": tenant.domain,
            "domain_id": str(tenant.domain_id),
        },
        {"accounts": ["platform"], "tag_name": "kind", "tag_value": "receipt", "share": 0.1},
    ]
    written = await client.put(PATH, json={"routes": asked})
    assert written.status_code == 200
    shown = written.json()["routes"]
    assert [{**route, "id": None} for route in shown] == [
        PLAIN | {"id": None} | route for route in asked
    ]
    assert (await client.get(PATH)).json() == {"routes": shown}
    turned = await client.put(PATH, json={"routes": shown[::-1]})
    assert turned.json()["routes"] == shown[::-1]


@pytest.mark.parametrize(
    ("routes", "code", "field"),
    [
        ([{"accounts": ["nobody"]}], "invalid_route", "routes[0].accounts[0]"),
        (
            [{"accounts": ["platform"]}, {"accounts": ["platform", NOBODYS]}],
            "invalid_route",
            "routes[1].accounts[1]",
        ),
        ([{"accounts": []}], "invalid_route", "routes[0].accounts"),
        ([{"accounts": ["platform"], "share": 0}], "invalid_route", "routes[0].share"),
        ([{"accounts": ["platform"], "id": NOBODYS}], "invalid_route", "routes[0].id"),
        ([{"accounts": ["platform"], "tag_name": "a\0"}], "invalid_route", "routes[0].tag_name"),
        ([{"accounts": ["platform"], "lane": "fast"}], "wrong_type", "routes[0].lane"),
        ([{"accounts": ["platform"], "domain": "x"}], "invalid_route", "routes[0].domain"),
        ([{"accounts": ["platform"], "domain": ""}], "invalid_route", "routes[0].domain"),
        ([{"accounts": ["platform"], "domain": "ü" * 999}], "invalid_route", "routes[0].domain"),
        ([{"accounts": ["platform"], "colour": "x"}], "unknown_field", "routes[0].colour"),
        ([{}], "missing_required_field", "routes[0].accounts"),
    ],
)
async def test_what_cannot_be_used_is_refused_by_its_place(
    client: httpx.AsyncClient, routes: list[dict[str, object]], code: str, field: str
) -> None:
    answer = await client.put(PATH, json={"routes": routes})
    assert is_problem(answer, 422, code, field=field), answer.text
    assert (await client.get(PATH)).json() == {"routes": []}


@pytest.mark.parametrize("spell", [str, str.upper])
async def test_domain_is_taken_by_its_name_and_answered_with_its_id(
    client: httpx.AsyncClient, tenant: SeededTenant, spell: Callable[[str], str]
) -> None:
    asked = [{"accounts": ["platform"]}, {"accounts": ["platform"], "domain": spell(tenant.domain)}]
    written = await client.put(PATH, json={"routes": asked})
    assert written.status_code == 200, written.text
    every, one = written.json()["routes"]
    assert (every["domain"], every["domain_id"]) == (None, None)
    assert (one["domain"], one["domain_id"]) == (tenant.domain, str(tenant.domain_id))
    assert (await client.get(PATH)).json() == written.json()


async def test_name_and_id_of_two_domains_are_refused(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    async with database.session("tp_cli", tenant.id) as session:
        other_id = await domains.add_domain(session, tenant.id, "xn--bcher-kva.example.com")
    route = {"accounts": ["platform"], "domain": "Bücher.example.com"}
    both = route | {"domain_id": str(tenant.domain_id)}
    answer = await client.put(PATH, json={"routes": [both]})
    assert is_problem(answer, 422, "invalid_route", field="routes[0].domain")
    (written,) = (await client.put(PATH, json={"routes": [route]})).json()["routes"]
    assert written["domain_id"] == str(other_id)


async def test_account_is_named_by_its_id_in_capitals_too(client: httpx.AsyncClient) -> None:
    relay = {"name": "Own relay", "provider": "smtp", "settings": {"host": "smtp.example.net"}}
    account_id = (await client.post("/provider-accounts", json=relay)).json()["id"]
    shouted = account_id.upper()
    written = await client.put(PATH, json={"routes": [{"accounts": [shouted, "platform"]}]})
    assert written.status_code == 200, written.text
    (route,) = written.json()["routes"]
    assert route["accounts"] == [account_id, "platform"]
    twice = await client.put(PATH, json={"routes": [{"accounts": [shouted, account_id]}]})
    assert is_problem(twice, 422, "invalid_route", field="routes[0].accounts")


async def test_second_tenant_has_a_list_of_its_own(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, tenant: SeededTenant
) -> None:
    await client.put(PATH, json={"routes": [{"accounts": ["platform"]}]})
    assert (await other_client.get(PATH)).json() == {"routes": []}
    foreign = [{"accounts": ["platform"], "domain_id": str(tenant.domain_id)}]
    answer = await other_client.put(PATH, json={"routes": foreign})
    assert is_problem(answer, 422, "invalid_route", field="routes[0].domain_id")
    named = [{"accounts": ["platform"], "domain": tenant.domain}]
    answer = await other_client.put(PATH, json={"routes": named})
    assert is_problem(answer, 422, "invalid_route", field="routes[0].domain")
    assert "you send from" in answer.json()["detail"]
    assert (await other_client.get(PATH)).json() == {"routes": []}


async def test_only_a_route_of_ones_own_list_keeps_its_id(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient
) -> None:
    kept = (await client.put(PATH, json={"routes": [{"accounts": ["platform"]}]})).json()
    (route,) = kept["routes"]
    new = {"accounts": ["platform"], "id": None}
    assert (await client.put(PATH, json=kept)).json() == kept
    refused = (
        (other_client, [route], 0),
        (client, [new, route | {"id": NOBODYS}], 1),
        (client, [route, route], None),
    )
    for caller, routes, index in refused:
        answer = await caller.put(PATH, json={"routes": routes})
        field = "routes" if index is None else f"routes[{index}].id"
        assert is_problem(answer, 422, "invalid_route", field=field)
    assert (await client.get(PATH)).json() == kept
    assert (await other_client.get(PATH)).json() == {"routes": []}
    assert (await client.put(PATH, json={"routes": []})).status_code == 200
    gone = await client.put(PATH, json=kept)
    assert is_problem(gone, 422, "invalid_route", field="routes[0].id")


async def test_missing_records_of_a_domain_are_shown_for_each_account(
    client: httpx.AsyncClient,
    other_client: httpx.AsyncClient,
    database: Database,
    tenant: SeededTenant,
) -> None:
    record = DomainRecord(type="CNAME", name="s1.example.com", value="x.example", is_found=False)
    async with database.pool("tp_worker") as pool:
        await standings.add_new(pool, ["sendgrid"], [], max_rows=10)
        # Of an account that the platform had once.
        await standings.add_new(pool, ["former"], [], max_rows=10)
    await say_platform_has(database, "sendgrid")
    missing = NewStanding(status="unverified", records=(record,), detail="not seen")
    await note_standing(database, tenant, "sendgrid", missing)
    own = await create(database, tenant)
    await note_standing(database, tenant, str(own), NewStanding(status="verified"))
    at_own, shown = (await client.get("/domain-standings")).json()["data"]
    assert (at_own["account"], at_own["status"]) == (str(own), "verified")
    assert shown.pop("checked_at") is not None
    assert shown == {
        "domain_id": str(tenant.domain_id),
        "domain": tenant.domain,
        "account": "platform:sendgrid",
        "status": "unverified",
        "detail": "not seen",
        "records": [
            {"type": "CNAME", "name": "s1.example.com", "value": "x.example", "found": False}
        ],
    }
    (theirs,) = (await other_client.get("/domain-standings")).json()["data"]
    assert (theirs["status"], theirs["checked_at"]) == ("unknown", None)
