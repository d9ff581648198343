"""API keys: their form, and that a mistyped one is told from a real one without a lookup."""

import re
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_core.crypto import (
    API_KEY_PATTERN,
    APIKeyMode,
    new_api_key,
    new_token,
    parse_api_key,
)

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def from_base62(text: str) -> int:
    number = 0
    for character in text:
        number = number * 62 + BASE62.index(character)
    return number


@pytest.mark.parametrize("mode", ["live", "test"])
def test_new_key_names_its_mode(mode: APIKeyMode) -> None:
    key = new_api_key(mode)
    assert key.startswith(f"tp_{mode}_")
    assert len(key) == len("tp_live_") + 32 + 6
    assert re.fullmatch(API_KEY_PATTERN, key)
    assert parse_api_key(key) == mode


def test_checksum_is_the_crc32_of_everything_before_it() -> None:
    for _ in range(100):
        key = new_api_key("live")
        assert from_base62(key[-6:]) == zlib.crc32(key[:-6].encode())


@pytest.mark.parametrize(
    ("key", "crc32", "mode"),
    [
        # The checksums are those of gzip; both need fewer than six digits.
        ("tp_live_0123456789abcdefghijABCDEFGHIJ000CQC7r", 0x0AF0E407, "live"),
        ("tp_test_0123456789abcdefghijABCDEFGHIJ030eSpuy", 0x23A3A138, "test"),
    ],
)
def test_short_checksum_is_padded_with_zeros(key: str, crc32: int, mode: str) -> None:
    assert from_base62(key[-6:]) == crc32
    assert key[-6] == "0"
    assert parse_api_key(key) == mode


def test_keys_differ() -> None:
    assert len({new_api_key("live") for _ in range(1000)}) == 1000


@given(st.data())
def test_any_single_mistyped_character_is_noticed(data: st.DataObject) -> None:
    key = new_api_key("live")
    position = data.draw(st.integers(0, len(key) - 1))
    character = data.draw(st.sampled_from(BASE62 + "_"))
    mistyped = key[:position] + character + key[position + 1 :]
    assert parse_api_key(mistyped) == ("live" if mistyped == key else None)


@given(st.data())
def test_two_swapped_neighbours_are_noticed(data: st.DataObject) -> None:
    key = new_api_key("test")
    left = data.draw(st.integers(8, len(key) - 2))
    swapped = key[:left] + key[left + 1] + key[left] + key[left + 2 :]
    assert parse_api_key(swapped) == ("test" if swapped == key else None)


@given(st.text())
def test_arbitrary_text_is_no_key(text: str) -> None:
    assert parse_api_key(text) is None


@pytest.mark.parametrize("end", [" ", "\n", "\0", "A"])
def test_text_around_a_key_is_not_ignored(end: str) -> None:
    key = new_api_key("live")
    assert parse_api_key(key + end) is None
    assert parse_api_key(end + key) is None


def test_digits_of_other_scripts_are_no_key() -> None:
    key = new_api_key("live")
    assert parse_api_key(key[:8] + "\u0663" + key[9:]) is None


def test_mode_cannot_be_changed_by_hand() -> None:
    assert parse_api_key(new_api_key("test").replace("tp_test_", "tp_live_")) is None


def test_token_has_256_bits_and_needs_no_escaping() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)
