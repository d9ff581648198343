"""Redaction: what has the form of a secret or an address does not pass, the rest does."""

import json
from collections.abc import Iterator
from enum import StrEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_core.crypto import new_api_key
from tallypost_telemetry.redaction import redact, redact_text

LOCAL_PARTS = st.from_regex(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,40}", fullmatch=True)
DOMAINS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,10}(\.[a-z]{2,5}){1,3}", fullmatch=True)


def redacted(**fields: object) -> dict[str, object]:
    return dict(redact(None, "info", dict(fields)))


def texts_of(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)
    else:
        yield str(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to jane@example.com failed", "to [address] failed"),
        ("<jane.doe+tag@mail.example.com>:", "<[address]>:"),
        ("Key (address)=(jane@example.com) exists", "Key (address)=([address]) exists"),
        ("jane@localhost", "[address]"),
        ("jane@[192.0.2.1]", "[address]"),
        ('"jane doe"@example.com', "[address]"),
        ("jörg@bücher.example", "[address]"),
        ("mailto:jane@example.com?subject=x", "mailto:[address]?subject=x"),
        ("a@example.com,b@example.com", "[address],[address]"),
        ("postgresql://tp_api:pass@127.0.0.1:5432/x", "postgresql://[hidden]@127.0.0.1:5432/x"),
        ("redis://:pass@cache:6379/0", "redis://[hidden]@cache:6379/0"),
        ("Authorization: Bearer abc.def-123", "Authorization: [hidden]"),
        ("sent Bearer abc.def-123 to it", "sent Bearer [hidden] to it"),
        ("Basic dXNlcjpwYXNzd29yZA==", "Basic [hidden]"),
        ("[(b'authorization', b'Bearer abcdef')]", "[(b'authorization', [hidden]"),
        ("tp_live_abc", "[api key]"),
    ],
)
def test_secret_or_address_is_replaced(text: str, expected: str) -> None:
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "email.sent",
        "2026-01-02T03:04:05Z",
        "0192e4a0-0000-7000-8000-000000000001",
        "GET /emails/{email_id}",
        "a bearer of news, a basic one",
        "at 10 @ 5",
        "@dataclass",
        "https://example.com/path",
        "http://127.0.0.1:8000",
        "tp_other_abc",
    ],
)
def test_harmless_text_stays(text: str) -> None:
    assert redact_text(text) == text


@given(LOCAL_PARTS, DOMAINS, st.text(alphabet=" \n\t<>()[],;:\"'", max_size=3))
def test_no_address_passes_whatever_surrounds_it(local: str, domain: str, around: str) -> None:
    address = f"{local}@{domain}"
    assert address not in redact_text(f"{around}{address}{around}")
    assert domain not in redact_text(f"{around}{address}{around}")


@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(["live", "test"]))
def test_no_api_key_passes_whatever_surrounds_it(before: str, after: str, mode: str) -> None:
    key = new_api_key("live" if mode == "live" else "test")
    assert key not in redact_text(before + key + after)


NESTED = st.recursive(
    st.sampled_from(["x@example.com", b"x@example.com", 1, None, ValueError("x@example.com")]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "x@example.com"]), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(NESTED)
def test_no_depth_or_type_hides_an_address(value: object) -> None:
    result = redacted(value=value)
    assert not any("x@example.com" in text for text in texts_of(result))
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Proxy-Authorization",
        "cookie",
        "set-cookie",
        "password",
        "smtp_password",
        "webhook_secret",
        "session_token",
        "api_key",
        "private_key",
    ],
)
def test_value_under_a_secret_name_is_hidden_whatever_it_is(name: str) -> None:
    assert redacted(headers={name: "anything"}) == {"headers": {name: "[hidden]"}}
    assert redacted(**{name: [1, 2]}) == {name: "[hidden]"}
    assert redacted(**{name: None}) == {name: None}


@pytest.mark.parametrize("name", ["api_key_id", "token_count", "has_password_now", "secretary"])
def test_name_that_only_contains_such_a_word_is_shown(name: str) -> None:
    assert redacted(**{name: "value"}) == {name: "value"}


class Colour(StrEnum):
    """A sample."""

    RED = "red"


def test_values_become_plain_ones_that_any_renderer_can_write() -> None:
    id_ = UUID(int=7)
    assert redacted(
        id=id_,
        colour=Colour.RED,
        body=b"12345",
        flag=True,
        count=10**30,
        share=0.5,
        bad=float("nan"),
        items={1},
        pair=(1, "b"),
    ) == {
        "id": str(id_),
        "colour": "red",
        "body": "[5 bytes]",
        "flag": True,
        "count": 10**30,
        "share": 0.5,
        "bad": "nan",
        "items": [1],
        "pair": [1, "b"],
    }


@pytest.mark.parametrize("unit", ["a", "a.", '"', "@", "a@", "://", "Basic "])
def test_long_hostile_text_is_scanned_in_linear_time(unit: str) -> None:
    # Quadratic time would take minutes here and run into the time limit of the test session.
    redact_text(unit * (1_000_000 // len(unit)))
