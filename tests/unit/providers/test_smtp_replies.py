"""Replies read out of bytes: the same however these are cut, and never without a bound."""

import itertools
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_providers.smtp_failures import Reply
from tallypost_providers.smtp_replies import (
    REPLY_MAX_BYTES,
    REPLY_MAX_LINES,
    ReplyMalformed,
    ReplyReader,
)

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=40).map(str.strip)
REPLIES = st.lists(
    st.tuples(st.integers(200, 599), st.lists(TEXTS, min_size=1, max_size=4)), max_size=5
)


def read(*pieces: bytes) -> tuple[list[Reply], bool]:
    """All replies, and whether the bytes were well formed to the end."""
    reader, replies = ReplyReader(), deque[Reply]()
    try:
        for piece in pieces:
            reader.feed(piece, replies)
    except ReplyMalformed:
        return list(replies), False
    return list(replies), True


def on_the_wire(code: int, lines: list[str], line_end: bytes) -> bytes:
    last = len(lines) - 1
    return b"".join(
        f"{code}{' ' if number == last else '-'}{line}".encode() + line_end
        for number, line in enumerate(lines)
    )


@given(
    replies=REPLIES,
    line_end=st.sampled_from([b"\r\n", b"\n"]),
    cuts=st.lists(st.integers(0, 600), max_size=8),
)
def test_replies_are_the_same_however_the_bytes_are_cut(
    replies: list[tuple[int, list[str]]], line_end: bytes, cuts: list[int]
) -> None:
    data = b"".join(on_the_wire(code, lines, line_end) for code, lines in replies)
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    expected = [Reply(code, "\n".join(lines)) for code, lines in replies]
    assert read(*pieces) == (expected, True)
    assert read(*(data[at : at + 1] for at in range(len(data)))) == (expected, True)


@given(data=st.binary(max_size=400), cut=st.integers(0, 400))
def test_any_bytes_are_replies_or_malformed_and_cuts_change_nothing(data: bytes, cut: int) -> None:
    assert read(data[:cut], data[cut:]) == read(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"250\r\n", Reply(250, "")),
        (b"250 \r\n", Reply(250, "")),
        (b"250\n", Reply(250, "")),
        (b"250-a\r\n250\r\n", Reply(250, "a\n")),
        (b"550 5.1.1 gr\xfc\xdfe\r\n", Reply(550, "5.1.1 gr\udcfc\udcdfe")),
        (b"250  two  blanks \r\n", Reply(250, "two  blanks")),
    ],
)
def test_reply_in_an_odd_form_is_read(data: bytes, expected: Reply) -> None:
    assert read(data) == ([expected], True)


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"\r\n",
        b"hello\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"250ok\r\n",
        b"250\tok\r\n",
        b"+50 ok\r\n",
        "２50 ok\r\n".encode(),
        b" 250 ok\r\n",
        b"199 ok\r\n",
        b"600 ok\r\n",
        b"250-a\r\n550 b\r\n",
        b"250-a\r\n\r\n250 b\r\n",
    ],
)
def test_bytes_that_are_no_reply_are_malformed(data: bytes) -> None:
    assert read(data) == ([], False)


def test_replies_before_nonsense_still_count() -> None:
    assert read(b"250 ok\r\n354 go\r\nnonsense\r\n250 no\r\n") == (
        [Reply(250, "ok"), Reply(354, "go")],
        False,
    )


LONG = REPLY_MAX_BYTES


@pytest.mark.parametrize(
    "data",
    [
        b"250 " + b"x" * LONG + b"\r\n",
        b"250 " + b"x" * LONG,
        b"250-" + b"x" * LONG,
        b"x" * (LONG + 1),
        (b"250-" + b"x" * 300 + b"\r\n") * (LONG // 300),
        b"250-\r\n" * (REPLY_MAX_LINES + 1),
    ],
)
@pytest.mark.parametrize("step", [1, 1000, LONG * 2])
def test_reply_without_end_is_malformed(data: bytes, step: int) -> None:
    assert read(*(data[at : at + step] for at in range(0, len(data), step))) == ([], False)


def test_reply_at_the_bounds_is_read() -> None:
    many = b"250-\r\n" * (REPLY_MAX_LINES - 1) + b"250 end\r\n"
    long = b"250 " + b"x" * (REPLY_MAX_BYTES - 6) + b"\r\n"
    replies, is_well_formed = read(many, long)
    assert (len(replies), is_well_formed) == (2, True)


def test_reader_knows_whether_a_reply_has_begun() -> None:
    reader, replies = ReplyReader(), deque[Reply]()
    states = []
    for piece in (b"2", b"50-a\r\n", b"250 b\r\n"):
        reader.feed(piece, replies)
        states.append(reader.is_between_replies)
    assert states == [False, False, True]
