"""Sending over HTTP: one email, batches, repeats."""

import base64
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.integration.api.conftest import SEND
from tests.support.database import TEST_READER, Database, SeededTenant

FULL: dict[str, Any] = {
    "from": "Sample Sender <hello@example.com>",
    "to": ["ada@example.net", "Bob <bob@example.net>"],
    "cc": "cy@example.net",
    "bcc": ["dot@example.net"],
    "reply_to": ["help@example.com"],
    "subject": "Grüße an dich",
    "html": "<p>Hello</p>",
    "text": "Hello",
    "headers": {"X-Entity-Ref-ID": "42"},
    "tags": [{"name": "kind", "value": "receipt"}],
    "attachments": [
        {"filename": "a.txt", "content": base64.b64encode(b"from base64").decode()},
        {"filename": "b.bin", "content": [0, 1, 254, 255], "content_type": "x-sample/b"},
        {"filename": "c.png", "content": "aW1n", "content_id": "logo"},
    ],
    "scheduled_at": "in 1 hour",
}

FROM = {"from": "hello@example.com"}


WRONG_FIELDS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"from": None}, 422, "missing_required_field", "from"),
    ({"to": []}, 422, "missing_required_field", "to"),
    ({"subject": None}, 422, "missing_required_field", "subject"),
    ({"text": None}, 422, "missing_required_field", "html"),
    ({"from": "nobody"}, 422, "invalid_from_address", "from"),
    ({"from": "hello@example.org"}, 403, "validation_error", "from"),
    ({"to": ["ada@example.net", "nobody"]}, 422, "validation_error", "to[1]"),
    ({"to": ["ada@example.net", 5]}, 422, "validation_error", "to[1]"),
    ({"subject": "a\r\nBcc: x@example.net"}, 422, "validation_error", "subject"),
    ({"headers": {"Bcc": "x@example.net"}}, 422, "validation_error", "headers.Bcc"),
    ({"attachments": [{"filename": "a"}]}, 422, "invalid_attachment", "attachments[0].content"),
    (
        # Our own addresses are nobody's to fetch from.
        {"attachments": [{"path": "http://127.0.0.1/a"}]},
        422,
        "invalid_attachment",
        "attachments[0].path",
    ),
    ({"template": {"id": "a"}}, 422, "validation_error", "template"),
    ({"topic_id": "a"}, 422, "validation_error", "topic_id"),
    ({"scheduled_at": "soon"}, 422, "validation_error", "scheduled_at"),
    ({"tags": [{"name": "a b", "value": "c"}]}, 422, "validation_error", "tags[0].name"),
    ({"to": ["ada@example.net"] * 51}, 422, "validation_error", "to"),
]


def is_error(response: httpx.Response, status: int, name: str) -> bool:
    """True where an answer is this error, in the form of the contract."""
    body = response.json()
    return (
        response.headers["content-type"] == "application/json"
        and set(body) == {"statusCode", "name", "message"}
        and (response.status_code, body["statusCode"], body["name"]) == (status, status, name)
    )


async def test_an_email_is_read_back_as_it_was_sent(client: httpx.AsyncClient) -> None:
    sent = await client.post("/emails", json=FULL)
    assert sent.status_code == 200
    assert list(sent.json()) == ["id"]
    email = (await client.get(f"/emails/{sent.json()['id']}")).json()
    assert email.pop("created_at")
    assert email.pop("scheduled_at")
    id_ = email.pop("id")
    assert id_ == sent.json()["id"]
    assert email.pop("message_id") == f"<{id_}@example.com>"
    assert email == {
        "object": "email",
        "from": FULL["from"],
        "to": FULL["to"],
        "cc": ["cy@example.net"],
        "bcc": ["dot@example.net"],
        "reply_to": ["help@example.com"],
        "subject": FULL["subject"],
        "html": FULL["html"],
        "text": FULL["text"],
        "last_event": "scheduled",
        "tags": FULL["tags"],
    }


async def test_an_accepted_email_is_queued_with_its_recipients(
    client: httpx.AsyncClient, database: Database, tenant: SeededTenant
) -> None:
    sent = await client.post("/emails", json=FULL)
    async with database.connect(TEST_READER) as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
        rows = await connection.fetch(
            "SELECT kind, address FROM recipients WHERE email_id = $1 ORDER BY kind, address",
            UUID(sent.json()["id"]),
        )
    assert [tuple(row) for row in rows] == [
        ("bcc", "dot@example.net"),
        ("cc", "cy@example.net"),
        ("to", "ada@example.net"),
        ("to", "bob@example.net"),
    ]


async def test_a_large_attachment_goes_to_the_object_store(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    body = bytes(range(256)) * 2000
    attachment = {"filename": "large.bin", "content": base64.b64encode(body).decode()}
    sent = await client.post("/emails", json=FROM | SEND | {"attachments": [attachment]})
    assert sent.status_code == 200
    stored = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in stored] == [body]


async def test_an_empty_body_with_a_json_type_is_an_object_without_fields(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/emails", headers={"content-type": "application/json"})
    assert is_error(response, 422, "missing_required_field")
    assert "`from`" in response.json()["message"]


async def test_a_wrong_field_is_named(client: httpx.AsyncClient) -> None:
    for change, status, name, field in WRONG_FIELDS:
        response = await client.post("/emails", json=FROM | SEND | change)
        assert is_error(response, status, name), (change, response.text)
        assert f"`{field}`" in response.json()["message"]
    assert (await client.get("/emails")).json()["data"] == []


async def test_a_repeat_with_the_same_key_gets_the_first_answer(
    client: httpx.AsyncClient,
) -> None:
    key = {"idempotency-key": "receipt/1"}
    first = await client.post("/emails", json=FROM | SEND, headers=key)
    # The order of fields, unknown ones and null make no other request of it.
    again = await client.post("/emails", json=SEND | FROM | {"cc": None, "new": 1}, headers=key)
    assert again.status_code == 200
    assert again.json() == first.json()
    listed = await client.get("/emails")
    assert [email["id"] for email in listed.json()["data"]] == [first.json()["id"]]


async def test_the_same_key_with_another_body_is_a_conflict(client: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "receipt/1"}
    await client.post("/emails", json=FROM | SEND, headers=key)
    response = await client.post("/emails", json=FROM | SEND | {"subject": "b"}, headers=key)
    assert is_error(response, 409, "invalid_idempotent_request")


async def test_a_key_belongs_to_its_route_and_mode(
    client: httpx.AsyncClient, sandbox_client: httpx.AsyncClient
) -> None:
    key = {"idempotency-key": "receipt/1"}
    email = FROM | SEND
    answers = [
        await client.post("/emails", json=email, headers=key),
        await client.post("/emails/batch", json=[email], headers=key),
        await sandbox_client.post("/emails", json=email, headers=key),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    ids = {answers[0].json()["id"], answers[1].json()["data"][0]["id"], answers[2].json()["id"]}
    assert len(ids) == 3


@pytest.mark.parametrize("key", ["", "k" * 257])
@pytest.mark.parametrize("path", ["/emails", "/emails/batch"])
async def test_a_key_has_1_to_256_characters(
    client: httpx.AsyncClient, path: str, key: str
) -> None:
    email = FROM | SEND
    body = email if path == "/emails" else [email]
    response = await client.post(path, json=body, headers={"idempotency-key": key})
    assert is_error(response, 400, "invalid_idempotency_key")
    assert (await client.get("/emails")).json()["data"] == []
    longest = await client.post(path, json=body, headers={"idempotency-key": "k" * 256})
    assert longest.status_code == 200


async def test_a_batch_answers_ids_in_its_order(client: httpx.AsyncClient) -> None:
    batch = [FROM | SEND | {"subject": f"Number {number}"} for number in range(100)]
    response = await client.post("/emails/batch", json=batch)
    assert response.status_code == 200
    assert list(response.json()) == ["data"]
    for index in (0, 57, 99):
        email = await client.get(f"/emails/{response.json()['data'][index]['id']}")
        assert email.json()["subject"] == f"Number {index}"


async def test_a_batch_takes_attachments_and_schedules(client: httpx.AsyncClient) -> None:
    response = await client.post("/emails/batch", json=[FULL, FULL])
    assert len(response.json()["data"]) == 2


@pytest.mark.parametrize(
    ("bad", "field"),
    [({"to": "nobody"}, "to"), ({"to": 5}, "to"), ({"subject": None}, "subject")],
)
async def test_a_strict_batch_with_a_bad_email_stores_nothing_and_names_it(
    client: httpx.AsyncClient, bad: dict[str, Any], field: str
) -> None:
    batch = [FROM | SEND, FROM | SEND | bad]
    response = await client.post(
        "/emails/batch", json=batch, headers={"x-batch-validation": "strict"}
    )
    assert response.status_code == 422
    assert f"[1].{field}" in response.json()["message"]
    assert (await client.get("/emails")).json()["data"] == []


async def test_a_permissive_batch_stores_the_good_and_lists_the_bad(
    client: httpx.AsyncClient,
) -> None:
    email = FROM | SEND
    batch = [email, email | {"to": "nobody"}, 5, email | {"from": "a@example.org"}, email]
    response = await client.post(
        "/emails/batch", json=batch, headers={"x-batch-validation": "permissive"}
    )
    assert response.status_code == 200
    assert len(response.json()["data"]) == 2
    errors = response.json()["errors"]
    assert [error["index"] for error in errors] == [1, 2, 3]
    assert "`to`" in errors[0]["message"]
    assert len((await client.get("/emails")).json()["data"]) == 2


async def test_a_permissive_batch_without_a_bad_email_says_so(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/emails/batch", json=[FROM | SEND], headers={"x-batch-validation": "permissive"}
    )
    assert response.json()["errors"] == []


async def test_a_batch_is_repeated_as_one(client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "batch", "x-batch-validation": "permissive"}
    batch = [FROM | SEND, {"to": 5}]
    first = await client.post("/emails/batch", json=batch, headers=headers)
    again = await client.post("/emails/batch", json=batch, headers=headers)
    assert again.json() == first.json()
    other = await client.post("/emails/batch", json=[batch[0], {"to": 6}], headers=headers)
    assert is_error(other, 409, "invalid_idempotent_request")


@pytest.mark.parametrize("mode", ["strict", "permissive"])
async def test_a_batch_in_the_other_mode_is_another_request(
    client: httpx.AsyncClient, mode: str
) -> None:
    batch = [FROM | SEND]
    key = {"idempotency-key": "batch"}
    first = await client.post("/emails/batch", json=batch, headers=key)
    again = await client.post(
        "/emails/batch", json=batch, headers=key | {"x-batch-validation": mode}
    )
    if mode == "strict":
        assert again.json() == first.json()
    else:
        assert is_error(again, 409, "invalid_idempotent_request")


async def test_a_way_to_validate_that_does_not_exist_is_refused(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post(
        "/emails/batch", json=[FROM | SEND], headers={"x-batch-validation": "lax"}
    )
    assert is_error(response, 422, "invalid_parameter")
    assert "x-batch-validation" in response.json()["message"]


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_1_to_100_emails(client: httpx.AsyncClient, count: int) -> None:
    response = await client.post("/emails/batch", json=[FROM | SEND] * count)
    assert is_error(response, 422, "validation_error")
