"""The official Python client, unchanged, on our API."""

import datetime as dt
from typing import Any

import pytest
import resend
from resend import exceptions

from tests.support.api_server import RunningAPI
from tests.support.database import SeededTenant

# Any: the client's TypedDicts cannot be changed field by field.
EMAIL: Any = {
    "from": "Sample Sender <hello@example.com>",
    "to": ["ada@example.net"],
    "subject": "Sample",
    "html": "<p>Hello</p>",
}

pytestmark = pytest.mark.usefixtures("python_client")


def test_an_email_is_sent_and_read_back() -> None:
    sent = resend.Emails.send(EMAIL)
    email: Any = resend.Emails.get(sent["id"])
    assert email["object"] == "email"
    assert email["id"] == sent["id"]
    assert email["from"] == EMAIL["from"]
    assert email["to"] == EMAIL["to"]
    assert email["html"] == EMAIL["html"]
    assert email["last_event"] == "queued"


def test_every_field_is_taken() -> None:
    sent = resend.Emails.send(
        EMAIL
        | {
            "to": "ada@example.net",
            "cc": ["Cy <cy@example.net>"],
            "bcc": "dot@example.net",
            "reply_to": "help@example.com",
            "text": "Hello",
            "headers": {"X-Entity-Ref-ID": "42"},
            "tags": [{"name": "kind", "value": "receipt"}],
            "attachments": [
                {"filename": "a.txt", "content": "aGVsbG8="},
                # What `list(open(..., "rb").read())` gives, as the client's own words have it.
                {"filename": "b.bin", "content": list(b"\x00\xff"), "content_type": "x-a/b"},
                {"filename": "c.png", "content": "aW1n", "content_id": "logo"},
                {"filename": "d.png", "content": "aW1n", "inline_content_id": "other"},
            ],
        }
    )
    email: Any = resend.Emails.get(sent["id"])
    assert email["to"] == ["ada@example.net"]
    assert email["cc"] == ["Cy <cy@example.net>"]
    assert email["bcc"] == ["dot@example.net"]
    assert email["reply_to"] == ["help@example.com"]
    assert email["tags"] == [{"name": "kind", "value": "receipt"}]


def test_a_repeat_gets_the_first_answer_and_another_body_a_conflict() -> None:
    options: Any = {"idempotency_key": "receipt/1"}
    first = resend.Emails.send(EMAIL, options)
    assert resend.Emails.send(EMAIL, options)["id"] == first["id"]
    with pytest.raises(exceptions.ResendError) as caught:
        resend.Emails.send(EMAIL | {"subject": "Other"}, options)
    assert (caught.value.code, caught.value.error_type) == (409, "invalid_idempotent_request")
    assert len(resend.Emails.list()["data"]) == 1


def test_a_strict_batch_is_all_or_none() -> None:
    sent = resend.Batch.send([EMAIL, EMAIL | {"subject": "Second"}])
    assert len(sent["data"]) == 2
    assert resend.Emails.get(sent["data"][1]["id"])["subject"] == "Second"
    with pytest.raises(exceptions.ValidationError):
        resend.Batch.send([EMAIL, EMAIL | {"to": "nobody"}])
    assert len(resend.Emails.list()["data"]) == 2


def test_a_permissive_batch_lists_what_it_left_out() -> None:
    sent = resend.Batch.send(
        [EMAIL, EMAIL | {"to": "nobody"}, EMAIL], {"batch_validation": "permissive"}
    )
    assert len(sent["data"]) == 2
    assert [error["index"] for error in sent["errors"]] == [1]


def test_an_email_is_scheduled_moved_and_canceled() -> None:
    sent = resend.Emails.send(EMAIL | {"scheduled_at": "in 1 hour"})
    assert resend.Emails.get(sent["id"])["last_event"] == "scheduled"
    moment = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=1)
    moved = resend.Emails.update({"id": sent["id"], "scheduled_at": moment.isoformat()})
    assert (moved["object"], moved["id"]) == ("email", sent["id"])
    read: Any = resend.Emails.get(sent["id"])
    assert dt.datetime.fromisoformat(read["scheduled_at"]) == moment
    canceled = resend.Emails.cancel(email_id=sent["id"])
    assert (canceled["object"], canceled["id"]) == ("email", sent["id"])
    assert resend.Emails.get(sent["id"])["last_event"] == "canceled"
    with pytest.raises(exceptions.ValidationError):
        resend.Emails.cancel(email_id=sent["id"])


def test_a_list_is_read_to_its_end() -> None:
    sent = [item["id"] for item in resend.Batch.send([EMAIL] * 5)["data"]]
    page = resend.Emails.list({"limit": 2})
    seen = [email["id"] for email in page["data"]]
    while page["has_more"]:
        page = resend.Emails.list({"limit": 2, "after": seen[-1]})
        seen += [email["id"] for email in page["data"]]
    assert page["object"] == "list"
    assert sorted(seen) == sorted(sent)
    before = resend.Emails.list({"before": seen[2]})
    assert [email["id"] for email in before["data"]] == seen[:2]


def test_limits_are_read_from_the_headers_of_an_answer() -> None:
    sent: Any = resend.Emails.send(EMAIL)
    headers = {name.lower() for name in sent["http_headers"]}
    assert {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"} <= headers


@pytest.mark.parametrize("key", ["", " "])
def test_no_key_is_a_missing_key(python_client: pytest.MonkeyPatch, key: str) -> None:
    python_client.setattr(resend, "api_key", key)
    with pytest.raises(exceptions.MissingApiKeyError) as caught:
        resend.Emails.send(EMAIL)
    assert (caught.value.code, caught.value.error_type) == (401, "missing_api_key")


@pytest.mark.parametrize("key", [None, "re_123456789"])
def test_a_wrong_key_is_an_invalid_key(python_client: pytest.MonkeyPatch, key: str | None) -> None:
    python_client.setattr(resend, "api_key", key)
    with pytest.raises(exceptions.InvalidApiKeyError) as caught:
        resend.Emails.send(EMAIL)
    assert (caught.value.code, caught.value.error_type) == (403, "invalid_api_key")


def test_a_missing_field_has_an_exception_of_its_own() -> None:
    for field in ("from", "to", "subject", "html"):
        email: Any = {name: value for name, value in EMAIL.items() if name != field}
        with pytest.raises(exceptions.MissingRequiredFieldsError, match=f"`{field}`") as caught:
            resend.Emails.send(email)
        assert (caught.value.code, caught.value.error_type) == (422, "missing_required_field")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": "nobody"}, "to"),
        ({"to": 5}, "to"),
        ({"tags": [{"name": "ä", "value": "b"}]}, r"tags\[0\].name"),
        ({"template": {"id": "welcome"}}, "template"),
    ],
)
def test_a_wrong_field_is_a_validation_error(change: dict[str, Any], field: str) -> None:
    with pytest.raises(exceptions.ValidationError, match=f"`{field}`") as caught:
        resend.Emails.send(EMAIL | change)
    assert (caught.value.code, caught.value.error_type) == (422, "validation_error")


@pytest.mark.parametrize(
    ("change", "code", "name"),
    [
        ({"from": "nobody"}, 422, "invalid_from_address"),
        ({"from": "a@example.org"}, 403, "validation_error"),
        ({"attachments": [{"filename": "a", "content": "!"}]}, 422, "invalid_attachment"),
        ({"attachments": [{"path": "http://127.0.0.1/a.pdf"}]}, 422, "invalid_attachment"),
    ],
)
def test_other_errors_carry_status_and_name(change: dict[str, Any], code: int, name: str) -> None:
    with pytest.raises(exceptions.ResendError) as caught:
        resend.Emails.send(EMAIL | change)
    assert type(caught.value) is exceptions.ResendError
    assert (caught.value.code, caught.value.error_type) == (code, name)


def test_a_key_that_only_sends_is_restricted(
    python_client: pytest.MonkeyPatch, tenant: SeededTenant
) -> None:
    python_client.setattr(resend, "api_key", tenant.sending_key.token)
    sent = resend.Emails.send(EMAIL)
    with pytest.raises(exceptions.ResendError) as caught:
        resend.Emails.get(sent["id"])
    assert (caught.value.code, caught.value.error_type) == (401, "restricted_api_key")


def test_what_does_not_exist_is_not_found() -> None:
    for call in (
        lambda: resend.Emails.get("00000000-0000-7000-8000-000000000000"),
        lambda: resend.Emails.get("x"),
        lambda: resend.Emails.cancel(email_id="x"),
        # Routes that come later.
        lambda: resend.Segments.list(),
        lambda: resend.Emails.share("x"),
        lambda: resend.Contacts.remove(audience_id="a", id="b"),
    ):
        with pytest.raises(exceptions.ResendError) as caught:
            call()
        assert (caught.value.code, caught.value.error_type) == (404, "not_found")


def test_a_bad_idempotency_key_is_named() -> None:
    with pytest.raises(exceptions.ResendError) as caught:
        resend.Emails.send(EMAIL, {"idempotency_key": "k" * 257})
    assert (caught.value.code, caught.value.error_type) == (400, "invalid_idempotency_key")


def test_too_many_requests_have_an_exception_of_their_own(
    python_client: pytest.MonkeyPatch, slow_key: str
) -> None:
    python_client.setattr(resend, "api_key", slow_key)
    for _ in range(10):
        resend.Emails.list()
    with pytest.raises(exceptions.RateLimitError) as caught:
        resend.Emails.list()
    assert (caught.value.code, caught.value.error_type) == (429, "rate_limit_exceeded")
    assert int(caught.value.headers["retry-after"]) > 0


def test_a_base_url_may_end_in_a_slash(python_client: pytest.MonkeyPatch, api: RunningAPI) -> None:
    python_client.setattr(resend, "api_url", f"{api.url}/")
    # The client joins to `//emails`.
    assert resend.Emails.send(EMAIL)["id"]
