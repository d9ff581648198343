"""The content that follows a 354: every message comes out as it went in."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_providers.smtp_handover import as_data

LINES = st.lists(st.one_of(st.sampled_from([b"", b".", b"..", b".x", b"x."]), st.binary()))


@given(lines=LINES)
def test_content_gives_the_message_back_and_ends_once(lines: list[bytes]) -> None:
    message = b"".join(re.sub(rb"[\r\n]", b"", line) + b"\r\n" for line in lines)
    content = as_data(message)
    # RFC 5321, section 4.5.2, as a server reads it: line by line, up to a dot of its own.
    taken = []
    rest = content.split(b"\r\n")
    while (line := rest.pop(0)) != b".":
        taken.append(line.removeprefix(b"."))
    assert rest == [b""]
    assert b"".join(line + b"\r\n" for line in taken) == message


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (b"", b".\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
        (b"hi", b"hi\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"hi\r\n.", b"hi\r\n..\r\n.\r\n"),
        (b"a.b\r\n", b"a.b\r\n.\r\n"),
    ],
)
def test_final_dot_stands_on_a_line_of_its_own(message: bytes, content: bytes) -> None:
    assert as_data(message) == content
