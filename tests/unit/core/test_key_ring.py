"""Key rings: what is read, what is refused, and that no key bytes show in an error."""

import base64

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tallypost_core.crypto import KeyRing, KeyRingError

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", fullmatch=True)
KEYS = st.binary(min_size=32, max_size=32)


def entry(name: str, key: bytes) -> str:
    return f"{name}:{base64.b64encode(key).decode()}"


@given(st.dictionaries(NAMES, KEYS, min_size=1, max_size=5))
def test_ring_keeps_names_keys_and_order(keys: dict[str, bytes]) -> None:
    unique = {name: key for name, key in keys.items() if list(keys.values()).count(key) == 1}
    if not unique:
        return
    ring = KeyRing.from_setting(",".join(entry(name, key) for name, key in unique.items()))
    assert [(key.name, key.secret) for key in ring.keys] == list(unique.items())
    assert ring.newest.name == next(iter(unique))


def test_spaces_and_line_ends_around_entries_are_ignored() -> None:
    ring = KeyRing.from_setting(f" {entry('new', b'n' * 32)} ,\n{entry('old', b'o' * 32)}\n")
    assert [key.name for key in ring.keys] == ["new", "old"]


def test_find_returns_the_key_of_that_name_or_none() -> None:
    ring = KeyRing.from_setting(f"{entry('new', b'n' * 32)},{entry('old', b'o' * 32)}")
    found = ring.find("old")
    assert found is not None
    assert found.secret == b"o" * 32
    assert ring.find("older") is None


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("", "entry 2 is empty"),
        ("just-some-secret-text", "entry 2 is not of the form name:base64"),
        ("bad name:" + "A" * 43 + "=", "entry 2 has a bad name"),
        ("old:***", "entry 2 (old) is not valid base64"),
        (entry("old", b"short"), "entry 2 (old) has 5 bytes instead of 32"),
        (entry("old", b"x" * 33), "entry 2 (old) has 33 bytes instead of 32"),
        (entry("new", b"o" * 32), "entry 2 (new) repeats a name"),
        (entry("old", b"n" * 32), "entry 2 (old) has the same bytes as new"),
    ],
)
def test_bad_entry_is_named_by_its_place(bad: str, problem: str) -> None:
    with pytest.raises(KeyRingError, match="entry 2") as caught:
        KeyRing.from_setting(f"{entry('new', b'n' * 32)},{bad}")
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


def test_every_bad_entry_is_reported_at_once() -> None:
    with pytest.raises(KeyRingError) as caught:
        KeyRing.from_setting("a:!!,b:AAAA,")
    assert [problem.split()[1] for problem in caught.value.problems] == ["1", "2", "3"]


@given(st.text(alphabet="ABCdef019+/=", min_size=12, max_size=60), st.booleans())
def test_errors_never_quote_what_was_written_as_key(secret: str, is_named: bool) -> None:
    assume(len(secret) != 44)
    with pytest.raises(KeyRingError) as caught:
        KeyRing.from_setting(f"old:{secret}" if is_named else secret)
    assert secret not in str(caught.value)


def test_malformed_name_is_not_quoted_either() -> None:
    with pytest.raises(KeyRingError) as caught:
        KeyRing.from_setting("c2VjcmV0+secret/==:AAAA")
    assert "c2VjcmV0" not in str(caught.value)


def test_keys_do_not_show_in_repr() -> None:
    ring = KeyRing.from_setting(entry("new", b"n" * 32))
    assert "nnn" not in repr(ring)
    assert "new" in repr(ring)
