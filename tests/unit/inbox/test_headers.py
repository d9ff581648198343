"""The header block of a stored message is read strictly or not at all."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_domain.emails.validation import MAX_HEADER_BLOCK_BYTES, validate
from tallypost_domain.emails.validation import MAX_HEADERS as MAX_OWN
from tallypost_domain.inbox.errors import MalformedHeaders
from tallypost_domain.inbox.headers import (
    MAX_BLOCK_BYTES,
    MAX_HEADERS,
    decode,
    find_header,
    printable,
    read_headers,
)
from tallypost_domain.inbox.types import Header
from tallypost_providers.message import render
from tests.support.emails import email_request
from tests.unit.providers.emails import make_dkim_key, make_email


def test_fields_come_in_order_and_unfolded() -> None:
    block = b"To: a@example.com,\r\n b@example.com\r\nX-One:1\r\nTo: c@example.com\r\n\r\nbody"
    assert read_headers(block) == (
        Header("To", "a@example.com, b@example.com"),
        Header("X-One", "1"),
        Header("To", "c@example.com"),
    )


def test_body_is_not_read() -> None:
    assert len(read_headers(b"A: 1\r\n\r\nB: 2\rC: 3\n\x00")) == 1


def test_utf_8_is_taken_as_it_is() -> None:
    assert read_headers("Subject: Grüße\r\n\r\n".encode()) == (Header("Subject", "Grüße"),)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"A: 1",
        b"A: 1\r\n",
        b"A: 1\n\nbody",
        b"A: 1\r\nB: 2\n\r\n\r\n",
        b"A: 1\rBcc: x@example.com\r\n\r\n",
        b"A: \x00\r\n\r\n",
        b" A: 1\r\n\r\n",
        b"A 1\r\n\r\n",
        b"A : 1\r\n\r\n",
        b": 1\r\n\r\n",
        b"A\xc3\xa4: 1\r\n\r\n",
        b"A: 1\r\n\tfolded\r\n\r\n".replace(b"A: 1\r\n", b""),
        b"A: " + b"x" * MAX_BLOCK_BYTES + b"\r\n\r\n",
        b"A: 1\r\n" * (MAX_HEADERS + 1) + b"\r\n",
    ],
)
def test_what_would_need_a_guess_is_refused(message: bytes) -> None:
    with pytest.raises(MalformedHeaders):
        read_headers(message)


@given(st.binary(max_size=300))
def test_no_input_leads_to_another_error(message: bytes) -> None:
    try:
        headers = read_headers(message + b"\r\n\r\n")
    except MalformedHeaders:
        return
    assert all("\n" not in header.value and "\r" not in header.value for header in headers)


@pytest.mark.parametrize("text", ["x", "x y ", "é", "文", "📦", "=?"])
@pytest.mark.parametrize("mailboxes", [1, 50])
def test_whatever_may_be_sent_can_be_read(text: str, mailboxes: int) -> None:
    # As many fields as validation lets through, and nearly as many bytes.
    budget = MAX_HEADER_BLOCK_BYTES - 1_500
    lines = MAX_OWN + 2 * mailboxes
    words = text * ((budget // lines - 80) // len(text.encode()))
    people = [f"{words} <a{number}@example.net>" for number in range(mailboxes)]
    names = [f"X-{number:03}".ljust(40, "x") for number in range(MAX_OWN)]
    accepted = validate(
        email_request(to=people, reply_to=people, headers=dict.fromkeys(names, words + "w")),
        now=dt.datetime(2026, 11, 24, tzinfo=dt.UTC),
    )
    outgoing = make_email(
        to=tuple(mailbox.header for mailbox in accepted.to),
        reply_to=tuple(mailbox.header for mailbox in accepted.reply_to),
        headers=accepted.headers,
        dkim_keys=(make_dkim_key("rsa-sha256"), make_dkim_key("ed25519-sha256")),
    )
    headers = read_headers(render(outgoing))
    assert find_header(headers, "X-Tallypost-Email-Id") == str(outgoing.email_id)
    assert {header.name for header in headers} > set(names)


def test_name_is_found_in_any_case() -> None:
    headers = read_headers(b"x-tallypost-email-id: 1\r\n\r\n")
    assert find_header(headers, "X-Tallypost-Email-Id") == "1"
    assert find_header(headers, "Subject") is None


def test_field_that_comes_twice_is_refused() -> None:
    headers = read_headers(b"Subject: a\r\nsubject: b\r\n\r\n")
    with pytest.raises(MalformedHeaders):
        find_header(headers, "Subject")


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?utf-8?b?8J+TpiBwYXJjZWw=?=", "📦 parcel"),
        ("=?utf-8?q?one?= =?utf-8?q?_two?=", "one two"),
        ("=?no-such-charset?q?x?=", "=?no-such-charset?q?x?="),
        ("=?utf-8?b?A?=", "=?utf-8?b?A?="),
        ("=?utf-8?q?a=0D=0ABcc:_b?=", "a Bcc: b"),
        ("=?utf-8?q?a=00b?=", "a b"),
    ],
)
def test_encoded_words_are_decoded_for_reading(value: str, decoded: str) -> None:
    assert decode(value) == decoded


@given(st.text(max_size=200))
def test_any_value_decodes_to_one_line_that_can_be_stored(value: str) -> None:
    decoded = decode(value)
    assert printable(decoded) == decoded
    decoded.encode()
