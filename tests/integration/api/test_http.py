"""Whatever comes in, the answer is ours: JSON, bounded, with an id."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from tests.integration.api.conftest import SEND
from tests.integration.api.test_send import FROM, is_error
from tests.support.api_server import RunningAPI
from tests.support.database import Database, SeededTenant


async def test_a_route_that_does_not_exist_answers_in_json(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    for path in ("/nowhere", "/domains", "/contacts", "/emails/a/b/c", "/emails/x/share", "/%00"):
        for caller in (client, anonymous):
            assert is_error(await caller.post(path, json={}), 404, "not_found"), path


async def test_a_method_that_a_route_does_not_take_answers_in_json(
    client: httpx.AsyncClient,
) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PURGE"):
        response = await client.request(method, "/emails")
        assert is_error(response, 405, "method_not_allowed"), method
        assert set(response.headers["allow"].split(", ")) == {"GET", "POST"}


async def test_a_slash_at_the_end_makes_no_difference(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    # One of the two takes the framework's own way to the same handler.
    for body, status in ((FROM | SEND, 200), (FROM, 422), ({"to": 5}, 422)):
        answers = [await client.post(path, json=body) for path in ("/emails", "/emails/")]
        assert [answer.status_code for answer in answers] == [status, status]
        assert [set(answer.headers) for answer in answers] == [set(answers[0].headers)] * 2
        if status != 200:
            assert answers[0].json() == answers[1].json()
    for path in ("/emails", "/emails/", "/emails/batch", "/emails/batch/"):
        assert is_error(await anonymous.post(path, json={}), 401, "missing_api_key"), path


async def test_the_root_leads_to_the_description(anonymous: httpx.AsyncClient) -> None:
    root = await anonymous.get("/")
    assert root.json() == {"name": "Tallypost API", "documentation": "/openapi.json"}
    description = await anonymous.get(root.json()["documentation"])
    assert description.headers["content-type"] == "application/json"
    assert description.json()["openapi"].startswith("3.1")


async def test_every_answer_has_an_id_of_its_own(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    answers = [
        await client.get("/emails"),
        await client.get("/emails/x"),
        await anonymous.get("/emails"),
        await anonymous.get("/nowhere"),
        await anonymous.get("/health/live"),
        await anonymous.get("/openapi.json"),
    ]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


async def test_malformed_json_is_told_where(client: httpx.AsyncClient) -> None:
    response = await client.post("/emails", content=b'{"from": "a", "to"}')
    assert is_error(response, 400, "validation_error")
    assert "byte" in response.json()["message"]


async def test_a_content_type_makes_no_difference(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/emails",
        content=json.dumps(FROM | SEND).encode(),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert response.status_code == 200


async def test_a_compressed_body_is_refused(client: httpx.AsyncClient) -> None:
    body = gzip.compress(json.dumps(FROM | SEND).encode())
    response = await client.post("/emails", content=body, headers={"content-encoding": "gzip"})
    assert is_error(response, 415, "validation_error")


async def test_deep_nesting_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/emails", content=b'{"a":' + b"[" * 40 + b"]" * 40 + b"}")
    assert is_error(response, 400, "validation_error")


async def test_too_large_a_body_is_refused_before_it_is_sent(
    api: RunningAPI, tenant: SeededTenant
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        writer.write(
            b"POST /emails HTTP/1.1\r\nhost: localhost\r\n"
            b"authorization: Bearer " + tenant.live_key.token.encode() + b"\r\n"
            b"content-length: 40000001\r\n\r\n{"
        )
        async with asyncio.timeout(30):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readuntil(b"}")
    finally:
        writer.close()
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body)["name"] == "validation_error"


async def test_without_a_key_no_body_is_awaited(api: RunningAPI) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        writer.write(b"POST /emails HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{")
        async with asyncio.timeout(30):
            head = await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
    assert head.startswith(b"HTTP/1.1 401 ")


async def test_too_large_a_body_of_unknown_length_is_refused(client: httpx.AsyncClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(41):
            yield b" " * 1_000_000

    response = await client.post("/emails", content=parts())
    assert is_error(response, 413, "validation_error")


async def test_what_goes_wrong_inside_is_told_to_nobody_but_the_log(
    client: httpx.AsyncClient, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = await client.post("/emails", json=FROM | SEND)
    await rename_contents(database.owner_url)
    response = await client.get(f"/emails/{sent.json()['id']}")
    assert is_error(response, 500, "internal_server_error")
    request_id = response.headers["x-request-id"]
    assert request_id in response.json()["message"]
    assert "email_contents" not in response.text
    logged = capsys.readouterr().out
    assert request_id in logged
    assert "email_contents" in logged


async def rename_contents(owner_url: str) -> None:
    """Take away a table that reading an email needs."""
    connection = await asyncpg.connect(owner_url)
    try:
        await connection.execute("ALTER TABLE email_contents RENAME TO email_contents_gone")
    finally:
        await connection.close()


async def test_metrics_count_routes_and_never_paths(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    await client.get("/emails/some-id-that-is-not-one")
    await anonymous.get("/some-path-that-is-none")
    text = (await anonymous.get("/metrics")).text
    assert 'method="GET",route="/emails/{email_id}",status_class="4xx"' in text
    assert 'method="GET",route="unmatched",status_class="4xx"' in text
    assert "some-" not in text
