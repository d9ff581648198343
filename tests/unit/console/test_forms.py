"""How submitted forms are read, and whose they are."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Request

from tallypost_console.errors import MalformedForm
from tallypost_console.forms import Form, SentForms, form_token, is_form_token, read_form
from tallypost_console.modes import read_mode

MOST = 80


# Any: the types of the request's user, auth and state.
class Submitted(Request[Any, Any, Any]):
    """A request whose body has arrived."""

    def __init__(self, body: bytes) -> None:
        # Of a scope nothing else is asked for.
        super().__init__({"type": "http", "headers": [], "state": {}})  # type: ignore[arg-type]
        self._arrived = body

    async def body(self) -> bytes:
        return self._arrived


async def read(body: bytes) -> Form:
    return await read_form(Submitted(body))


async def test_fields_are_read_as_they_were_written() -> None:
    form = await read(b"name=Ada+Lovelace&city=K%C3%B6ln&note=a%26b%3Dc&empty=")
    assert form.require("name") == "Ada Lovelace"
    assert form.require("city") == "Köln"
    assert form.require("note") == "a&b=c"
    assert form.require("empty") == ""


async def test_missing_field_is_named_where_it_is_required() -> None:
    form = await read(b"name=Ada")
    with pytest.raises(MalformedForm) as caught:
        form.require("password")
    assert caught.value.field == "password"
    assert form.find("password") == ""
    assert form.list_values("password") == []


async def test_of_a_field_that_repeats_the_last_counts_and_all_are_listed() -> None:
    form = await read(b"email=1&name=Ada&email=2&email=3")
    assert form.require("email") == "3"
    assert form.list_values("email") == ["1", "2", "3"]


async def test_form_with_too_many_fields_is_refused() -> None:
    pairs = [("email", str(n)) for n in range(MOST + 1)]
    whole = await read(urlencode(pairs[:MOST]).encode())
    assert len(whole.list_values("email")) == MOST
    with pytest.raises(MalformedForm):
        await read(urlencode(pairs).encode())


async def test_empty_body_is_an_empty_form() -> None:
    assert (await read(b"")).find("name") == ""


@given(st.binary(max_size=300))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    asyncio.run(read(body))


@given(st.lists(st.tuples(st.text(), st.text()), max_size=MOST))
def test_any_text_arrives(pairs: list[tuple[str, str]]) -> None:
    form = asyncio.run(read(urlencode(pairs).encode()))
    for name in {name for name, _ in pairs}:
        assert form.list_values(name) == [value for name_, value in pairs if name_ == name]


def test_token_of_a_form_is_for_one_session() -> None:
    token = form_token("session")
    assert is_form_token(token, "session")
    assert not is_form_token(token, "another session")
    assert "session" not in token


@pytest.mark.parametrize("presented", ["", "session", "ä", "\ud800", "0" * 64])
def test_wrong_token_is_refused(presented: str) -> None:
    assert not is_form_token(presented, "session")


@pytest.mark.parametrize("mode", ["live", "test"])
def test_mode_of_a_form_is_one_of_two(mode: str) -> None:
    assert read_mode(Form([("mode", mode)])) == mode


@pytest.mark.parametrize("pairs", [[], [("mode", "")], [("mode", "LIVE")], [("mode", "all")]])
def test_any_other_mode_is_refused_by_name(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(MalformedForm) as caught:
        read_mode(Form(pairs))
    assert caught.value.field == "mode"


def test_form_that_came_is_known_and_one_that_failed_is_not() -> None:
    sent = SentForms()
    assert sent.add("one")
    with sent.forgetting_failure("one"):
        pass
    assert not sent.add("one")
    for error in (ValueError(), asyncio.CancelledError()):
        assert sent.add("two")
        with pytest.raises(type(error)), sent.forgetting_failure("two"):
            raise error
    assert sent.add("two")
    assert not sent.add("one")
