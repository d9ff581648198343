"""What is wrong with a body is said precisely, and large ones are bounded."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Request

from tallypost_api import bodies
from tallypost_api.errors import (
    JSONTooDeep,
    JSONTooIntricate,
    MalformedJSON,
    MalformedRequest,
    RequestTimeout,
    RequestTooLarge,
    ServiceUnavailable,
    UnsupportedEncoding,
    WrongType,
)
from tallypost_api.request_context import BodyBudget, RequestContext, attach
from tallypost_core.errors import AppError
from tallypost_domain.emails.errors import InvalidField

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def depth(value: object) -> int:
    """How many lists and objects are around the innermost one, itself included."""
    if isinstance(value, Mapping):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(JSON_VALUES, st.integers(min_value=0, max_value=6), st.booleans())
def test_depth_is_counted_as_a_walk_through_the_value_counts_it(
    value: object, max_depth: int, is_ascii: bool
) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    with pytest.raises(JSONTooDeep) if depth(value) > max_depth else nullcontext():
        bodies.require_simple(text, max_depth=max_depth)


@pytest.mark.parametrize("item", [b"[],", b'"",', b'"[",', b"{},", b'"\\\\",'])
def test_the_number_of_strings_and_of_lists_is_bounded(item: bytes) -> None:
    def body(count: int) -> bytes:
        return b'{"a":[' + b"[]," * 40 + item * count + b"0]}"

    # Keys and the lists around count too.
    bodies.decode_email(body(249_900))
    with pytest.raises(JSONTooIntricate):
        bodies.decode_email(body(250_000))


def test_quotes_and_brackets_of_a_text_are_not_counted() -> None:
    html = '<p class="a">{[</p>' * 200_000
    assert bodies.decode_email(json.dumps({"html": html}).encode()).html == html


def test_brackets_and_quotes_inside_of_strings_are_no_depth() -> None:
    css = 'a{b:"\\"}' * 50
    body = json.dumps({"html": css + "[{" * 50 + "\\", "text": '"[[['}).encode()
    assert bodies.decode_email(body).html == css + "[{" * 50 + "\\"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_up_to_32_levels_is_taken_and_beyond_is_refused(opening: str) -> None:
    closing = "]" if opening == "[" else "}"

    def body(levels: int) -> bytes:
        inner = opening * (levels - 1) + "0" + closing * (levels - 1)
        return b'{"unknown":' + inner.encode() + b"}"

    assert bodies.decode_email(body(32)) == bodies.decode_email(b"{}")
    with pytest.raises(JSONTooDeep):
        bodies.decode_email(body(33))


def test_nesting_that_would_exhaust_the_stack_is_refused() -> None:
    with pytest.raises(JSONTooDeep):
        bodies.decode_email(b'{"unknown":' + b"[" * 400_000)
    with pytest.raises(JSONTooIntricate):
        bodies.decode_email(b'{"unknown":' + b"[" * 1_000_000)


@pytest.mark.parametrize("decode", [bodies.decode_email, bodies.decode_batch])
def test_the_structure_is_judged_before_anything_is_decoded(
    decode: Callable[[bytes], object],
) -> None:
    # Each text begins with what no decoder takes, and would be refused for that.
    with pytest.raises(JSONTooIntricate):
        decode(b"5 [" + b"[]," * 600_000)
    with pytest.raises(JSONTooDeep):
        decode(b"5 " + b"[" * 40 + b"]" * 40)


@pytest.mark.parametrize("text", [b"[" + b'{"to":[]},' * 50, b"[" + b"[]" * 50 + b"]" * 50])
def test_what_is_malformed_and_shallow_is_not_called_deep(text: bytes) -> None:
    with pytest.raises(MalformedJSON):
        bodies.decode_batch(text)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"to":["a@example.com",5]}', "to[1]"),
        (b'{"to":5}', "to"),
        (b'{"headers":{"x-a":1}}', "headers"),
        (b'{"tags":[{"name":"a","value":[]}]}', "tags[0].value"),
        (b'{"attachments":[{"content":{}}]}', "attachments[0].content"),
        (b"[]", None),
    ],
)
def test_a_wrong_type_names_its_field(body: bytes, field: str | None) -> None:
    with pytest.raises(WrongType) as caught:
        bodies.decode_email(body)
    assert caught.value.field == field
    assert field is None or f"`{field}`" in caught.value.message
    assert "$" not in caught.value.message


@pytest.mark.parametrize(
    "body",
    [b"{", b"{'a':1}", b'{"a":1} x', b"\xff", b'{"subject":"\xff"}', b'{"subject":"\\ud800"}'],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJSON):
        bodies.decode_email(body)


def test_malformed_json_is_told_where() -> None:
    with pytest.raises(MalformedJSON, match=r"byte 17"):
        bodies.decode_email(b'{"from":"a","to" "b"}')


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_body_is_the_empty_object(body: bytes) -> None:
    assert bodies.decode_email(body) == bodies.decode_email(b"{}")


def test_unknown_fields_are_ignored_and_null_is_absent() -> None:
    body = b'{"from":"a@example.com","cc":null,"html":null,"unknown":{"a":[1]}}'
    assert bodies.decode_email(body) == bodies.decode_email(b'{"from":"a@example.com"}')


def test_an_item_of_the_wrong_type_does_not_spoil_its_batch() -> None:
    first, second, third, fourth = bodies.decode_batch(
        b'[{"from":"a@example.com"},5,{"to":{}},{"subject":"\xff"}]'
    )
    assert not isinstance(first.request, AppError)
    assert isinstance(second.request, WrongType)
    assert isinstance(third.request, WrongType)
    assert third.request.field == "to"
    assert isinstance(fourth.request, MalformedJSON)


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_has_1_to_100_emails(count: int) -> None:
    with pytest.raises(InvalidField, match=str(count)):
        bodies.decode_batch(json.dumps([{}] * count).encode())


def test_a_batch_is_a_list() -> None:
    with pytest.raises(WrongType):
        bodies.decode_batch(b"{}")


def request_of(
    messages: AsyncIterator[Mapping[str, Any]],
    *,
    headers: Mapping[str, str] | None = None,
    budget: BodyBudget | None = None,
) -> tuple[Request[Any, Any, Any], RequestContext]:
    """A request whose body comes from messages, as the server would give them."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        "state": {},
    }
    context = RequestContext("test", budget or BodyBudget(10**9))
    attach(scope, context)
    # Any: Litestar's types of scopes and messages are narrower than ASGI's.
    receive: Any = messages.__anext__
    return Request(scope, receive), context  # type: ignore[arg-type]


async def chunks(*parts: bytes, ends: bool = True) -> AsyncIterator[Mapping[str, Any]]:
    """The messages of a body; without an end, the client hangs up."""
    for index, part in enumerate(parts):
        more = index < len(parts) - 1 or not ends
        yield {"type": "http.request", "body": part, "more_body": more}
    yield {"type": "http.disconnect"}


async def test_a_body_in_parts_is_joined() -> None:
    request, _ = request_of(chunks(b"a", b"", b"bc"))
    assert await bodies.read_body(request) == b"abc"


async def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    messages = chunks(b"first part")
    request, _ = request_of(messages, headers={"content-length": "40000001"})
    with pytest.raises(RequestTooLarge):
        await bodies.read_body(request)
    assert (await anext(messages))["body"] == b"first part"


async def test_a_body_that_grows_too_large_is_stopped_there() -> None:
    part = bytes(10_000_000)
    read = 0

    async def endless() -> AsyncIterator[Mapping[str, Any]]:
        nonlocal read
        while True:
            read += len(part)
            yield {"type": "http.request", "body": part, "more_body": True}

    request, _ = request_of(endless())
    with pytest.raises(RequestTooLarge):
        await bodies.read_body(request)
    assert read == 50_000_000


async def test_a_body_of_the_largest_size_is_taken() -> None:
    request, _ = request_of(chunks(bytes(20_000_000), bytes(20_000_000)))
    assert len(await bodies.read_body(request)) == 40_000_000


async def test_a_body_that_does_not_end_times_out_and_closes_the_connection() -> None:
    async def stalled() -> AsyncIterator[Mapping[str, Any]]:
        yield {"type": "http.request", "body": b"{", "more_body": True}
        await asyncio.Event().wait()

    request, context = request_of(stalled())
    with pytest.raises(RequestTimeout):
        await bodies.read_body(request, timeout_s=0.01)
    assert (b"connection", b"close") in context.headers


async def test_a_client_that_hangs_up_ends_its_request() -> None:
    request, _ = request_of(chunks(b"{", ends=False))
    with pytest.raises(MalformedRequest):
        await bodies.read_body(request)


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity"])
async def test_a_compressed_body_is_refused(encoding: str) -> None:
    request, _ = request_of(chunks(b"{}"), headers={"content-encoding": encoding})
    with pytest.raises(UnsupportedEncoding):
        await bodies.read_body(request)


async def test_bodies_of_all_requests_share_one_bound_and_give_it_back() -> None:
    budget = BodyBudget(5)
    first, first_context = request_of(chunks(b"abc"), budget=budget)
    second, second_context = request_of(chunks(b"de", b"f"), budget=budget)
    assert await bodies.read_body(first) == b"abc"
    with pytest.raises(ServiceUnavailable):
        await bodies.read_body(second)
    first_context.release()
    second_context.release()
    third, _ = request_of(chunks(b"abcde"), budget=budget)
    assert await bodies.read_body(third) == b"abcde"
