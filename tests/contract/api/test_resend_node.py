"""The official Node client, unchanged, on our API."""

import datetime as dt
from typing import Any

import pytest

from tests.contract.api.conftest import NodeClient
from tests.support.database import SeededTenant

EMAIL: dict[str, Any] = {
    "from": "Sample Sender <hello@example.com>",
    "to": ["ada@example.net"],
    "subject": "Sample",
    "html": "<p>Hello</p>",
}


def test_an_email_is_sent_and_read_back(node_client: NodeClient) -> None:
    sent, read = node_client.run([["emails.send", EMAIL], ["emails.get", "<0.data.id>"]])
    assert sent["error"] is None
    assert read["error"] is None
    assert read["data"]["object"] == "email"
    assert {name: read["data"][name] for name in EMAIL} == EMAIL
    assert read["data"]["last_event"] == "queued"


def test_every_field_is_taken(node_client: NodeClient) -> None:
    email = EMAIL | {
        "to": "ada@example.net",
        "cc": ["Cy <cy@example.net>"],
        "bcc": "dot@example.net",
        "replyTo": "help@example.com",
        "text": "Hello",
        "headers": {"X-Entity-Ref-ID": "42"},
        "tags": [{"name": "kind", "value": "receipt"}],
        "attachments": [
            {"filename": "a.txt", "content": "aGVsbG8="},
            {"filename": "b.bin", "content": {"$bytes": [0, 255]}, "contentType": "x-a/b"},
            {"filename": "c.png", "content": "aW1n", "contentId": "logo"},
        ],
    }
    sent, read = node_client.run([["emails.send", email], ["emails.get", "<0.data.id>"]])
    assert sent["error"] is None
    assert read["data"]["to"] == ["ada@example.net"]
    assert read["data"]["cc"] == ["Cy <cy@example.net>"]
    assert read["data"]["bcc"] == ["dot@example.net"]
    assert read["data"]["reply_to"] == ["help@example.com"]
    assert read["data"]["tags"] == [{"name": "kind", "value": "receipt"}]


def test_a_repeat_gets_the_first_answer_and_another_body_a_conflict(
    node_client: NodeClient,
) -> None:
    options = {"idempotencyKey": "receipt/1"}
    first, again, other = node_client.run(
        [
            ["emails.send", EMAIL, options],
            ["emails.send", EMAIL, options],
            ["emails.send", EMAIL | {"subject": "Other"}, options],
        ]
    )
    assert again["data"] == first["data"]
    assert (other["error"]["statusCode"], other["error"]["name"]) == (
        409,
        "invalid_idempotent_request",
    )


def test_batches_are_strict_unless_told_otherwise(node_client: NodeClient) -> None:
    bad = EMAIL | {"to": "nobody"}
    good, refused, permissive, listed = node_client.run(
        [
            ["batch.send", [EMAIL, EMAIL]],
            ["batch.send", [EMAIL, bad]],
            ["batch.send", [EMAIL, bad], {"batchValidation": "permissive"}],
            ["emails.list"],
        ]
    )
    assert len(good["data"]["data"]) == 2
    assert (refused["error"]["statusCode"], refused["error"]["name"]) == (422, "validation_error")
    assert len(permissive["data"]["data"]) == 1
    assert [error["index"] for error in permissive["data"]["errors"]] == [1]
    assert len(listed["data"]["data"]) == 3


def test_an_email_is_scheduled_moved_and_canceled(node_client: NodeClient) -> None:
    moment = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=1)
    update = {"id": "<0.data.id>", "scheduledAt": moment.isoformat()}
    sent, moved, read, canceled, gone, again = node_client.run(
        [
            ["emails.send", EMAIL | {"scheduledAt": "in 1 hour"}],
            ["emails.update", update],
            ["emails.get", "<0.data.id>"],
            ["emails.cancel", "<0.data.id>"],
            ["emails.get", "<0.data.id>"],
            ["emails.cancel", "<0.data.id>"],
        ]
    )
    changed = {"object": "email", "id": sent["data"]["id"]}
    assert moved["data"] == changed
    assert dt.datetime.fromisoformat(read["data"]["scheduled_at"]) == moment
    assert canceled["data"] == changed
    assert gone["data"]["last_event"] == "canceled"
    assert (again["error"]["statusCode"], again["error"]["name"]) == (422, "validation_error")


def test_a_list_is_read_to_its_end(node_client: NodeClient) -> None:
    sent, first, second, third = node_client.run(
        [
            ["batch.send", [EMAIL] * 5],
            ["emails.list", {"limit": 2}],
            ["emails.list", {"limit": 2, "after": "<1.data.data.1.id>"}],
            ["emails.list", {"limit": 2, "after": "<2.data.data.1.id>"}],
        ]
    )
    pages = [first["data"], second["data"], third["data"]]
    assert [page["has_more"] for page in pages] == [True, True, False]
    seen = [email["id"] for page in pages for email in page["data"]]
    assert sorted(seen) == sorted(item["id"] for item in sent["data"]["data"])


def test_errors_carry_status_and_name(node_client: NodeClient) -> None:
    cases: list[tuple[list[object], int, str]] = [
        (["emails.send", {"to": "ada@example.net"}], 422, "missing_required_field"),
        (["emails.send", EMAIL | {"to": "nobody"}], 422, "validation_error"),
        (["emails.send", EMAIL | {"from": "nobody"}], 422, "invalid_from_address"),
        (["emails.send", EMAIL | {"from": "a@example.org"}], 403, "validation_error"),
        (
            ["emails.send", EMAIL | {"attachments": [{"path": "http://127.0.0.1/a"}]}],
            422,
            "invalid_attachment",
        ),
        (
            ["emails.send", EMAIL | {"attachments": [{"filename": "a", "content": "!"}]}],
            422,
            "invalid_attachment",
        ),
        (["emails.send", EMAIL | {"template": {"id": "a"}}], 422, "validation_error"),
        (["emails.send", EMAIL, {"idempotencyKey": "k" * 257}], 400, "invalid_idempotency_key"),
        (["emails.get", "x"], 404, "not_found"),
        (["emails.cancel", "00000000-0000-7000-8000-000000000000"], 404, "not_found"),
        (["emails.list", {"limit": 101}], 422, "invalid_parameter"),
        (["contacts.list", {"audienceId": "a"}], 404, "not_found"),
        (["domains.remove", "x"], 404, "not_found"),
    ]
    results = node_client.run([call for call, _, _ in cases])
    for (call, status, name), result in zip(cases, results, strict=True):
        assert result["data"] is None, call
        error = result["error"]
        assert (error["statusCode"], error["name"]) == (status, name), (call, error)
        assert error["message"]


@pytest.mark.parametrize("key", ["re_123456789", "tp_live_x"])
def test_a_wrong_key_is_an_invalid_key(node_client: NodeClient, key: str) -> None:
    error = node_client.call("emails.send", EMAIL, key=key)["error"]
    assert (error["statusCode"], error["name"]) == (403, "invalid_api_key")


def test_a_key_that_only_sends_is_restricted(node_client: NodeClient, tenant: SeededTenant) -> None:
    sent, read = node_client.run(
        [["emails.send", EMAIL], ["emails.get", "<0.data.id>"]], key=tenant.sending_key.token
    )
    assert sent["error"] is None
    assert (read["error"]["statusCode"], read["error"]["name"]) == (401, "restricted_api_key")


def test_too_many_requests_say_when_to_come_back(node_client: NodeClient, slow_key: str) -> None:
    calls: list[list[object]] = [["emails.list"]] * 11
    *taken, refused = node_client.run(calls, key=slow_key)
    assert [result["error"] for result in taken] == [None] * 10
    assert taken[0]["headers"]["ratelimit-limit"] == "10"
    error = refused["error"]
    assert (error["statusCode"], error["name"]) == (429, "rate_limit_exceeded")
    assert int(refused["headers"]["retry-after"]) > 0
