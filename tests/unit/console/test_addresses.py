"""Addresses of the console's pages."""

from urllib.parse import parse_qsl, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from tallypost_console.addresses import address_of


def test_path_without_fields_is_the_path() -> None:
    assert address_of("/emails") == "/emails"


def test_fields_without_a_value_are_left_out() -> None:
    assert address_of("/emails", q="", after=None, before="x") == "/emails?before=x"


def test_zero_is_a_value() -> None:
    assert address_of("/emails", page=0) == "/emails?page=0"


def test_live_mode_goes_without_saying() -> None:
    assert address_of("/emails", mode="live") == "/emails"
    assert address_of("/emails", mode="test") == "/emails?mode=test"
    assert address_of("/emails", q="live") == "/emails?q=live"


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_whatever_was_searched_for_arrives(text: str) -> None:
    parts = urlsplit(address_of("/emails", mode="test", q=text))
    assert parts.path == "/emails"
    assert parse_qsl(parts.query, keep_blank_values=True) == [("mode", "test"), ("q", text)]
