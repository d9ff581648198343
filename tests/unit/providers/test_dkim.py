"""DKIM signatures, judged by dkimpy."""

import base64
import datetime as dt
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tallypost_providers.dkim import Algorithm, dns_record, generate_keypair, sign
from tallypost_providers.errors import SigningKeyInvalid
from tallypost_providers.message import render
from tests.unit.providers.dkim_judge import verifies
from tests.unit.providers.emails import (
    CREATED_AT,
    keypair,
    make_dkim_key,
    make_email,
)

# A busy machine makes drawing examples slow, which is no fault of the code.
PATIENT = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ALGORITHMS: tuple[Algorithm, ...] = ("rsa-sha256", "ed25519-sha256")
HEAD = b"From: Ada <ada@news.example.com>\r\nTo: bob@example.net\r\nSubject: Hi\r\n"
BODIES = {
    "empty": b"",
    "one line": b"hello\r\n",
    "no line end": b"hello",
    "trailing blank lines": b"hello\r\n\r\n\r\n\r\n",
    "only blank lines": b"\r\n\r\n",
    "trailing spaces": b"hello \t \r\nworld\t\r\n  \r\n",
    "runs of spaces": b"a  b\t\tc \t d\r\n",
    "leading spaces": b"  a\r\n\tb\r\n",
    "dots": b".\r\n..\r\n",
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_signature_verifies_for_every_shape_of_body(algorithm: Algorithm, body: bytes) -> None:
    signed = sign(HEAD + b"\r\n" + body, [make_dkim_key(algorithm)], CREATED_AT)
    assert verifies(signed)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signature_covers_folded_and_oddly_spaced_headers(algorithm: Algorithm) -> None:
    head = (
        b"FROM:Ada\r\n\t <ada@news.example.com>  \r\n"
        b"to:  bob@example.net,\r\n   eve@example.net\r\n"
        b"Subject: a   b\r\n  c\t\r\nReply-To: \r\nDate: Sun, 1 Mar 2026 09:30:00 +0000\r\n"
    )
    assert verifies(sign(head + b"\r\nhi\r\n", [make_dkim_key(algorithm)], CREATED_AT))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signature_covers_every_field_of_a_name(algorithm: Algorithm) -> None:
    head = HEAD + b"Reply-To: a@example.com\r\nTo: eve@example.net\r\nReply-To: b@example.com\r\n"
    signed = sign(head + b"\r\nhi\r\n", [make_dkim_key(algorithm)], CREATED_AT)
    assert verifies(signed)
    for value in (b"a@example.com", b"b@example.com", b"bob@example.net", b"eve@example.net"):
        assert not verifies(signed.replace(value, b"mallory@evil.test"))


@pytest.mark.parametrize("body", [b"hello", b"hello \t ", b" "])
def test_body_without_a_last_line_end_is_signed_as_smtp_hands_it_over(body: bytes) -> None:
    signed = sign(HEAD + b"\r\n" + body, [make_dkim_key("ed25519-sha256")], CREATED_AT)
    assert verifies(signed + b"\r\n")


def test_space_before_a_colon_does_not_count() -> None:
    key = make_dkim_key("ed25519-sha256")
    obsolete = HEAD.replace(b"Subject:", b"Subject \t:")
    first, second = (sign(head + b"\r\n", [key], CREATED_AT) for head in (HEAD, obsolete))
    assert first.removesuffix(HEAD + b"\r\n") == second.removesuffix(obsolete + b"\r\n")


@given(
    st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"x", b".", b"=", b"\xc3\xa9"])).map(b"".join)
)
@PATIENT
def test_signature_verifies_whatever_the_whitespace(body: bytes) -> None:
    message = HEAD + b"\r\n" + body + b"\r\n"
    assert verifies(sign(message, [make_dkim_key("ed25519-sha256")], CREATED_AT))


def test_two_keys_give_two_signatures_and_each_verifies_alone() -> None:
    keys = tuple(make_dkim_key(algorithm) for algorithm in ALGORITHMS)
    signed = render(make_email(dkim_keys=keys, html="<p>שלום", reply_to=("r@example.com",)))
    assert signed.count(b"DKIM-Signature:") == 2
    assert verifies(signed, 0)
    assert verifies(signed, 1)


def test_rendered_message_has_the_same_bytes_each_time() -> None:
    keys = tuple(make_dkim_key(algorithm) for algorithm in ALGORITHMS)
    email = make_email(dkim_keys=keys, html="<p>hi")
    assert render(email) == render(email)


def test_signing_only_prepends() -> None:
    message = HEAD + b"\r\nhello \r\n"
    signed = sign(message, [make_dkim_key("rsa-sha256")], CREATED_AT)
    assert signed.endswith(message)
    assert signed.startswith(b"DKIM-Signature: ")
    assert sign(message, [], CREATED_AT) == message


def test_signing_time_is_the_time_given() -> None:
    signed = sign(HEAD + b"\r\n", [make_dkim_key("ed25519-sha256")], CREATED_AT)
    assert f" t={int(CREATED_AT.timestamp())};".encode() in signed


def test_no_signature_line_is_longer_than_a_header_line_should_be() -> None:
    head = HEAD + b"".join(
        name + b": x\r\n"
        for name in (b"List-Unsubscribe", b"List-Unsubscribe-Post", b"References", b"In-Reply-To")
    )
    signed = sign(head + b"\r\n", [make_dkim_key("rsa-sha256")], CREATED_AT)
    own = re.split(rb"\r\n(?![ \t])", signed)[0]
    assert max(map(len, own.split(b"\r\n"))) <= 78


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"hello world", b"hello  worlds"),
        (b"Subject: Hi", b"Subject: Ho"),
        (b"To: bob", b"To: eve"),
        (b"From: Ada", b"From: Eve <e@evil.test>\r\nFrom: Ada"),
        (b"Subject: Hi", b"Subject: Buy\r\nSubject: Hi"),
        (b"To: bob", b"Cc: eve@evil.test\r\nTo: bob"),
        (b"List-Unsubscribe: <https://a", b"List-Unsubscribe: <https://b"),
    ],
)
def test_tampering_breaks_the_signature(algorithm: Algorithm, before: bytes, after: bytes) -> None:
    message = HEAD + b"List-Unsubscribe: <https://a.example.com>\r\n\r\nhello world\r\n"
    signed = sign(message, [make_dkim_key(algorithm)], CREATED_AT)
    assert verifies(signed)
    tampered = signed.replace(before, after)
    assert tampered != signed
    assert not verifies(tampered)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_relay_may_add_headers_and_change_spaces(algorithm: Algorithm) -> None:
    signed = sign(HEAD + b"\r\nhello world\r\n", [make_dkim_key(algorithm)], CREATED_AT)
    relayed = b"Received: by relay.example.net\r\n" + signed.replace(b"hello ", b"hello   ")
    assert verifies(relayed)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_new_keys_differ_and_their_record_is_what_dns_expects(algorithm: Algorithm) -> None:
    first, second = generate_keypair(algorithm), generate_keypair(algorithm)
    assert first.private_key != second.private_key
    record = dns_record(algorithm, first.public_key)
    kind = algorithm.partition("-")[0]
    assert record == f"v=DKIM1; k={kind}; p={first.public_key}"
    size = len(base64.b64decode(first.public_key, validate=True))
    assert size == (32 if kind == "ed25519" else 294)


@pytest.mark.parametrize(
    "private_key", [b"", b"nonsense", keypair("rsa-sha256").private_key], ids=["none", "bad", "rsa"]
)
def test_key_of_another_kind_than_stated_is_refused(private_key: bytes) -> None:
    key = replace(make_dkim_key("ed25519-sha256"), private_key=private_key)
    with pytest.raises(SigningKeyInvalid, match="tp-ed25519"):
        sign(HEAD + b"\r\n", [key], dt.datetime.now(dt.UTC))


def test_key_does_not_show_itself() -> None:
    key = make_dkim_key("ed25519-sha256")
    assert repr(key.private_key) not in repr(key)
