"""Messages in the shapes that large mailboxes see: their bytes, and what readers make of them."""

import base64
import re

import pytest

from tallypost_providers.message import render
from tallypost_providers.types import OutgoingEmail
from tests.unit.providers.dkim_judge import verifies
from tests.unit.providers.golden_messages import FOLDER, golden_file
from tests.unit.providers.mail_shapes import KNOWN_PUBLIC_KEY, SHAPES, large_email
from tests.unit.providers.read_messages import expected, read_by_stdlib

EACH_SHAPE = pytest.mark.parametrize("name", SHAPES)


def find_known_key(name: bytes, timeout: int = 5) -> bytes:
    assert name == b"known._domainkey.news.example.com."
    return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(KNOWN_PUBLIC_KEY)


@EACH_SHAPE
def test_bytes_are_those_of_the_file(name: str) -> None:
    kept = golden_file(name).read_bytes()
    assert render(SHAPES[name]).split(b"\r\n") == kept.split(b"\r\n"), (
        "if the change is meant: python -m tests.unit.providers.golden_messages"
    )


def test_no_file_is_without_a_shape() -> None:
    assert {file.stem for file in FOLDER.glob("*.eml")} == set(SHAPES)


@EACH_SHAPE
def test_standard_library_reads_what_was_written(name: str) -> None:
    email = SHAPES[name]
    assert read_by_stdlib(golden_file(name).read_bytes(), [*email.headers]) == expected(email)


@EACH_SHAPE
def test_signature_verifies(name: str) -> None:
    assert verifies(golden_file(name).read_bytes(), find=find_known_key)


@EACH_SHAPE
def test_every_line_is_fit_for_every_relay(name: str) -> None:
    require_plain_lines(golden_file(name).read_bytes())


def test_ten_megabytes_come_back_signed_and_whole() -> None:
    email: OutgoingEmail = large_email()
    message = render(email)
    require_plain_lines(message)
    assert verifies(message, find=find_known_key)
    assert read_by_stdlib(message, []) == expected(email)


def require_plain_lines(message: bytes) -> None:
    """7-bit, CRLF, no line too long, none that a relay or a mailbox file would change."""
    assert message.isascii()
    assert message.endswith(b"\r\n")
    lines = message.split(b"\r\n")
    assert not [line for line in lines if re.search(rb"[\r\n\0]", line) or len(line) > 998]
    assert not [line for line in lines if line == b"." or line.startswith(b"From ")]
