"""Whatever is wrong with a request to a route of ours, its answer is a problem of RFC 9457."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from tallypost_api.problem_table import ROWS
from tallypost_core.crypto import new_api_key
from tallypost_domain.api_keys import service as api_keys
from tests.integration.api.conftest import client_of
from tests.integration.api.own.mail import park
from tests.integration.api.own.operations import NOBODYS, ROUTES
from tests.integration.api.own.problems import is_problem, read_list_field
from tests.integration.api.test_send import is_error
from tests.integration.queue.harness import Harness
from tests.support.api_server import RunningAPI, api_settings, run_api
from tests.support.database import PEPPERS, Database, SeededTenant

LIST = "/unconfirmed-emails"
SETTLE = f"/unconfirmed-emails/{NOBODYS}/settle"


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_without_a_key_the_answer_is_a_problem_that_names_the_scheme(
    anonymous: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await anonymous.request(method, path)
    assert is_problem(response, 401, "missing_api_key")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_key_that_may_only_send_is_refused(
    api: RunningAPI, tenant: SeededTenant, method: str, path: str
) -> None:
    async with client_of(api, tenant.sending_key.token) as client:
        response = await client.request(method, path)
    assert is_problem(response, 403, "restricted_api_key")


async def test_an_unknown_key_is_refused(api: RunningAPI) -> None:
    async with client_of(api, new_api_key("live")) as client:
        assert is_problem(await client.get(LIST), 401, "invalid_api_key")
    async with client_of(api, "malformed") as client:
        assert is_problem(await client.get(LIST), 401, "invalid_api_key")


async def test_a_revoked_key_dies_while_it_is_in_use(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    assert (await client.get(LIST)).status_code == 200
    async with database.session("tp_cli", tenant.id) as session:
        await api_keys.revoke_key(session, tenant.id, tenant.live_key.id)
    async with asyncio.timeout(60):
        while (response := await client.get(LIST)).status_code == 200:
            pass
    assert is_problem(response, 401, "invalid_api_key")


async def test_a_key_of_a_suspended_tenant_is_refused(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    assert (await client.get(LIST)).status_code == 200
    async with database.connect("tp_cli") as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        await connection.execute("UPDATE tenants SET status = 'suspended'")
    async with asyncio.timeout(60):
        while (response := await client.get(LIST)).status_code == 200:
            pass
    assert is_problem(response, 403, "tenant_suspended")


@pytest.mark.parametrize("id_", [NOBODYS, "x", "' OR 1=1 --", "é", "1" * 500])
async def test_an_id_that_does_not_exist_is_not_found(client: httpx.AsyncClient, id_: str) -> None:
    for method, path in (
        ("GET", f"/emails/{id_}/timeline"),
        ("POST", f"/unconfirmed-emails/{id_}/resend"),
        ("POST", f"/unconfirmed-emails/{id_}/settle"),
    ):
        body = {"as": "sent"} if path.endswith("settle") else None
        assert is_problem(await client.request(method, path, json=body), 404, "not_found"), path


async def test_a_path_that_no_route_has_is_answered_as_the_original_does(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    for path in (
        "/unconfirmed-emails/a/b/c",
        "/emails/a/timeline/b",
        "/unconfirmed",
        # An id that is empty is none, so it is another path.
        "/unconfirmed-emails//settle",
    ):
        for caller in (client, anonymous):
            for method in ("GET", "POST"):
                assert is_error(await caller.request(method, path), 404, "not_found"), path
    # The rest of this is one email's path, which is a route of the original.
    assert is_error(await client.get("/emails//timeline"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "code", "field", "said"),
    [
        ({}, "missing_required_field", "as", "missing"),
        (
            {"as": "sent", "note": 1},
            "unknown_field",
            "note",
            "the fields here are `as`, `attempt_id`",
        ),
        ({"as": 5}, "wrong_type", "as", "expected `str`, got `int`"),
        ({"as": None}, "wrong_type", "as", "got `null`"),
        ({"as": "bounced"}, "wrong_type", "as", "one of `sent`, `canceled`"),
        ([], "wrong_type", None, "expected `object`, got `array`"),
    ],
)
async def test_a_body_that_does_not_fit_is_told_the_field_and_what_was_expected(
    client: httpx.AsyncClient, body: object, code: str, field: str | None, said: str
) -> None:
    response = await client.post(SETTLE, json=body)
    assert is_problem(response, 422, code, field=field), response.text
    assert said in response.json()["detail"]


async def test_a_body_that_is_no_body_is_refused(client: httpx.AsyncClient) -> None:
    malformed = await client.post(SETTLE, content=b'{"as"')
    assert is_problem(malformed, 400, "malformed_json")
    deep = await client.post(SETTLE, content=b'{"a":' + b"[" * 40 + b"]" * 40 + b"}")
    assert is_problem(deep, 400, "json_too_deep")
    intricate = await client.post(SETTLE, content=b"[" + b'"",' * 260_000 + b"1]")
    assert is_problem(intricate, 400, "json_too_intricate")
    zipped = gzip.compress(b'{"as": "sent"}')
    compressed = await client.post(SETTLE, content=zipped, headers={"content-encoding": "gzip"})
    assert is_problem(compressed, 415, "unsupported_encoding")


async def test_too_large_a_body_is_refused(client: httpx.AsyncClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 100_000

    for content in (parts(), b'{"as": "' + b"x" * 1_000_000 + b'"}'):
        response = await client.post(SETTLE, content=content)
        assert is_problem(response, 413, "request_too_large")
        assert response.json()["detail"] == "The request body is larger than 1 MB."


async def test_a_wrong_value_is_not_repeated(client: httpx.AsyncClient) -> None:
    for value in ("secret", "secret' - at `$." + "x" * 900_000):
        response = await client.post(SETTLE, json={"as": value})
        assert is_problem(response, 422, "wrong_type", field="as")
        said = "The `as` field is wrong: it must be one of `sent`, `canceled`."
        assert response.json()["detail"] == said


async def test_a_decision_that_cannot_be_taken_is_a_conflict_in_words(
    client: httpx.AsyncClient, queue: Harness, tenant: SeededTenant
) -> None:
    (email_id,) = await queue.add(tenant)
    response = await client.post(f"/unconfirmed-emails/{email_id}/resend")
    assert is_problem(response, 409, "nothing_unconfirmed")
    assert response.json()["detail"].startswith("No recipient of this email is unconfirmed")


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(
    api: RunningAPI, database: Database, tenant: SeededTenant
) -> None:
    async with database.session("tp_cli", tenant.id) as session:
        slow = await api_keys.create_key(
            session, tenant.id, mode="live", name="slow", peppers=PEPPERS, rate_limit_per_s=0.01
        )
    async with client_of(api, slow.token) as client:
        for remaining in range(9, -1, -1):
            response = await client.get(LIST)
            assert response.status_code == 200
            policy = read_list_field(response.headers["ratelimit-policy"])
            assert policy == {"default": {"q": 10, "w": 1000}}
            limit = read_list_field(response.headers["ratelimit"])["default"]
            assert limit["r"] == remaining
            assert 0 < limit["t"] <= 100
            assert not {"ratelimit-limit", "ratelimit-remaining"} & set(response.headers)
        refused = await client.get(LIST)
        assert is_problem(refused, 429, "rate_limit_exceeded")
        limit = read_list_field(refused.headers["ratelimit"])["default"]
        # The draft forbids a `retry-after` that ends before the window does.
        assert limit["r"] == 0
        assert 0 < limit["t"] <= int(refused.headers["retry-after"]) <= 100
        # The allowance is one; only how it is told differs.
        contract = await client.get("/emails")
        assert is_error(contract, 429, "rate_limit_exceeded")
        assert contract.headers["ratelimit-remaining"] == "0"
        assert not {"ratelimit", "ratelimit-policy"} & set(contract.headers)


async def test_what_goes_wrong_inside_is_told_to_nobody_but_the_log(
    client: httpx.AsyncClient,
    queue: Harness,
    tenant: SeededTenant,
    database: Database,
    capsys: pytest.CaptureFixture[str],
) -> None:
    email_id = await park(queue, tenant)
    connection = await asyncpg.connect(database.owner_url)
    try:
        await connection.execute("ALTER TABLE attempts RENAME TO attempts_gone")
    finally:
        await connection.close()
    response = await client.get(f"/emails/{email_id}/timeline")
    assert is_problem(response, 500, "internal_error")
    assert "attempts" not in response.text
    logged = capsys.readouterr().out
    assert response.headers["x-request-id"] in logged
    assert "attempts" in logged


@pytest.fixture
def api_without_database(tmp_path: Path) -> Iterator[RunningAPI]:
    """An API whose database is not there."""
    nowhere = Database("postgresql://owner:secret@127.0.0.1:9/none", "none")
    with run_api(api_settings(nowhere, tmp_path / "objects")) as running:
        yield running


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_without_a_database_it_says_when_to_ask_again(
    api_without_database: RunningAPI, method: str, path: str
) -> None:
    async with client_of(api_without_database, new_api_key("live")) as client:
        response = await client.request(method, path)
    assert is_problem(response, 503, "unavailable"), response.text
    assert int(response.headers["retry-after"]) >= 1
    assert "127.0.0.1" not in response.text


async def test_the_type_of_a_problem_leads_to_what_is_known_about_it(
    anonymous: httpx.AsyncClient,
) -> None:
    problem = await anonymous.get(LIST)
    page = await anonymous.get(str(problem.url.join(problem.json()["type"])))
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    for row in ROWS:
        assert f"\n### {row.error.code}\n" in page.text
