"""The MIME writer: shape of the tree, headers, and what it refuses."""

import base64
import datetime as dt
import email
import email.message
import email.policy
import os
import random
import re
import subprocess
import sys
from email.header import decode_header, make_header
from email.utils import getaddresses
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.mime import HEAD_MAX_BYTES, build_message
from tallypost_providers.types import Attachment, OutgoingEmail
from tests.unit.providers.emails import make_email, make_recipient

PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
LOGO = Attachment(filename="logo.png", content_type="image/png", body=PIXEL, content_id="logo")
INVOICE = Attachment(filename="invoice.pdf", content_type="application/pdf", body=b"%PDF" * 300)


def parse(message: bytes) -> email.message.EmailMessage:
    return email.message_from_bytes(message, policy=email.policy.default)


def read_names(message: bytes, header: str) -> list[str]:
    """Display names by the library's older reader.

    The newer one keeps the space between two encoded words of a name, against RFC 2047, 6.2.
    """
    value = email.message_from_bytes(message)[header]
    return [str(make_header(decode_header(name))) for name, _ in getaddresses([value])]


def body_of(part: email.message.Message) -> str:
    """A text part decoded, with line feeds for line ends."""
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode("utf-8").replace("\r\n", "\n")


def tree(part: email.message.Message) -> object:
    """Content types as nested lists, so that a test can state the whole structure."""
    if part.is_multipart():
        return [part.get_content_type(), *(tree(child) for child in part.iter_parts())]  # type: ignore[attr-defined]  # EmailMessage has it, its base has not.
    return part.get_content_type()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"text": "hi"}, "text/plain"),
        ({"text": None, "html": "<p>hi"}, "text/html"),
        ({"text": None}, "text/plain"),
        ({"html": "<p>hi"}, ["multipart/alternative", "text/plain", "text/html"]),
        (
            {"text": None, "html": "<img src=cid:logo>", "attachments": (LOGO,)},
            ["multipart/related", "text/html", "image/png"],
        ),
        (
            {"html": "<img src=cid:logo>", "attachments": (LOGO, INVOICE)},
            [
                "multipart/mixed",
                [
                    "multipart/alternative",
                    "text/plain",
                    ["multipart/related", "text/html", "image/png"],
                ],
                "application/pdf",
            ],
        ),
        ({"attachments": (INVOICE,)}, ["multipart/mixed", "text/plain", "application/pdf"]),
        ({"attachments": (LOGO,)}, ["multipart/mixed", "text/plain", "image/png"]),
    ],
)
def test_tree_holds_exactly_the_parts_that_the_email_has(
    fields: dict[str, object], expected: object
) -> None:
    assert tree(parse(build_message(make_email(**fields)))) == expected


def test_inline_image_is_found_by_the_content_id_that_html_refers_to() -> None:
    message = parse(build_message(make_email(html="<img src=cid:logo>", attachments=(LOGO,))))
    image = next(part for part in message.walk() if part.get_content_type() == "image/png")
    assert image["Content-ID"] == "<logo>"
    assert image.get_content_disposition() == "inline"
    assert image.get_payload(decode=True) == PIXEL


def test_two_builds_in_two_processes_with_other_hash_seeds_are_equal(tmp_path: Path) -> None:
    original = make_email(
        html="<p>שלום 🎉", headers={"X-One": "1", "X-Two": "2"}, attachments=(LOGO, INVOICE)
    )
    stored = tmp_path / "email.msgpack"
    stored.write_bytes(msgspec.msgpack.encode(original))
    program = (
        "import msgspec, pathlib, sys;"
        "from tallypost_providers.mime import build_message;"
        "from tallypost_providers.types import OutgoingEmail;"
        "stored = pathlib.Path(sys.argv[1]).read_bytes();"
        "email = msgspec.msgpack.decode(stored, type=OutgoingEmail);"
        "sys.stdout.buffer.write(build_message(email))"
    )
    built = [
        subprocess.run(
            [sys.executable, "-c", program, str(stored)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]
    assert built[0] == built[1] == build_message(original)


def test_boundaries_differ_between_emails() -> None:
    boundaries = {
        re.search(rb'boundary="([^"]+)"', build_message(make_email(html="<p>hi")))[1]  # type: ignore[index]  # A missing boundary fails the test as it should.
        for _ in range(2)
    }
    assert len(boundaries) == 2


def test_headers_carry_our_identifiers_and_the_time_of_acceptance() -> None:
    email_ = make_email(from_header="Bücher <a@bücher.example>")
    message = parse(build_message(email_))
    assert message["Message-ID"] == f"<{email_.email_id}@xn--bcher-kva.example>"
    assert message["X-Tallypost-Email-Id"] == str(email_.email_id)
    assert message["Date"] == "Sun, 01 Mar 2026 09:30:00 +0000"
    assert message["MIME-Version"] == "1.0"
    assert message["From"].addresses[0].addr_spec == "a@xn--bcher-kva.example"


def test_bcc_recipient_is_named_nowhere_in_the_message() -> None:
    email_ = make_email(
        cc=("Bob <bob@example.net>",),
        recipients=(make_recipient("ada@example.net"), make_recipient("eve@hidden.test", "bcc")),
    )
    message = build_message(email_)
    assert b"eve@hidden.test" not in message
    assert b"bcc" not in message.lower()


@pytest.mark.parametrize(
    ("written", "name", "address"),
    [
        ("ada@example.net", "", "ada@example.net"),
        ("<ada@example.net>", "", "ada@example.net"),
        ("Ada Lovelace <ada@example.net>", "Ada Lovelace", "ada@example.net"),
        ('"Lovelace, Ada" <ada@example.net>', "Lovelace, Ada", "ada@example.net"),
        ("Lovelace, Ada <ada@example.net>", "Lovelace, Ada", "ada@example.net"),
        (r'"A \"B\" \\ C" <ada@example.net>', r'A "B" \ C', "ada@example.net"),
        ("חברה בע״מ <ada@example.net>", "חברה בע״מ", "ada@example.net"),
        ("🎉 Party 👩‍👩‍👧 <ada@example.net>", "🎉 Party 👩‍👩‍👧", "ada@example.net"),
        ("a" * 300 + " <ada@example.net>", "a" * 300, "ada@example.net"),
        ("Ünï, " * 40 + "<ada@example.net>", ("Ünï, " * 40).strip(), "ada@example.net"),
        ("=?utf-8?B?w6k=?= <ada@example.net>", "=?utf-8?B?w6k=?=", "ada@example.net"),
        ("a@b.example <ada@example.net>", "a@b.example", "ada@example.net"),
        ('"ada b"@example.net', "", '"ada b"@example.net'),
        ("Ada <ada@münchen.example>", "Ada", "ada@xn--mnchen-3ya.example"),
        ("Ada <ada@例え.テスト>", "Ada", "ada@xn--r8jz45g.xn--zckzah"),
    ],
)
def test_address_comes_back_as_it_was_meant(written: str, name: str, address: str) -> None:
    message = build_message(make_email(to=(written,), reply_to=(written,)))
    for header in ("To", "Reply-To"):
        (found,) = parse(message)[header].addresses
        assert found.addr_spec == address
        assert read_names(message, header) == [name]


def test_fifty_addresses_stay_fifty_and_in_order() -> None:
    written = [f"Person Nümber {number} <p{number}@example.net>" for number in range(50)]
    message = parse(build_message(make_email(to=tuple(written))))
    assert [found.addr_spec for found in message["To"].addresses] == [
        f"p{number}@example.net" for number in range(50)
    ]


@pytest.mark.parametrize(
    "filename",
    ["résumé.pdf", "报告 2026.xlsx", 'quo"te\\back.txt', "semi;colon.txt", "📎" * 60, "x" * 300],
)
def test_file_name_in_any_script_comes_back(filename: str) -> None:
    attachment = Attachment(filename=filename, content_type="text/csv", body=b"a,b\r\n")
    message = parse(build_message(make_email(attachments=(attachment,))))
    (part,) = message.iter_attachments()
    assert part.get_filename() == filename
    assert part.get_payload(decode=True) == b"a,b\r\n"


def test_attached_message_travels_as_an_opaque_file() -> None:
    inner = Attachment(
        filename="mail.eml", content_type="message/rfc822", body=b"Bcc: x@example.net\r\n\r\nhi"
    )
    message = parse(build_message(make_email(attachments=(inner,))))
    (part,) = message.iter_attachments()
    assert part.get_content_type() == "application/octet-stream"
    assert part.get_payload(decode=True) == inner.body


def test_parameters_of_a_content_type_are_kept() -> None:
    invite = Attachment(
        filename="invite.ics",
        content_type='text/calendar; method=REQUEST; charset="utf-8"',
        body=b"BEGIN:VCALENDAR\r\n",
    )
    (part,) = parse(build_message(make_email(attachments=(invite,)))).iter_attachments()
    assert part.get_content_type() == "text/calendar"
    assert part["Content-Type"].params["method"] == "REQUEST"
    assert part.get_content_charset() == "utf-8"


@pytest.mark.parametrize(
    "text",
    [".", "..\r\n.\r\n", "From me\n\nFrom you\n", "trailing  \nspaces\t\n", "x" * 5000, "é" * 5000],
)
def test_body_survives_dots_long_lines_and_trailing_spaces(text: str) -> None:
    message = build_message(make_email(text=text))
    expected = text.replace("\r\n", "\n")
    assert body_of(parse(message)) == expected.removesuffix("\n") + "\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("", "7bit"),
        ("Hello\n", "7bit"),
        ("trailing space \n" + "x" * 990, "7bit"),
        ("x" * 991, "quoted-printable"),
        ("From me\n", "quoted-printable"),
        ("hello\nFrom me\n", "quoted-printable"),
        ("hello\n.\n", "quoted-printable"),
        ("bell \x07\n", "quoted-printable"),
        ("A few Ümlauts\n", "quoted-printable"),
        ("発送の準備\n", "base64"),
        # Where a sixth of the bytes is outside ASCII both are as long, and the readable one wins.
        ("é23456789 \n", "quoted-printable"),
        ("é2345678 \n", "base64"),
    ],
)
def test_body_takes_the_shortest_encoding_that_every_relay_keeps(text: str, encoding: str) -> None:
    message = parse(build_message(make_email(text=text)))
    assert message["Content-Transfer-Encoding"] == encoding
    assert body_of(message) == (text if text.endswith("\n") or not text else text + "\n")


def test_line_that_looks_like_a_boundary_ends_no_part() -> None:
    email_ = make_email(html="<p>hi")
    boundary = parse(build_message(email_)).get_boundary()
    text = f"--{boundary}\n\n--{boundary}--\n"
    message = parse(build_message(replace(email_, text=text)))
    assert tree(message) == ["multipart/alternative", "text/plain", "text/html"]
    plain, _ = message.iter_parts()
    assert body_of(plain) == text


@pytest.mark.parametrize(
    "size_bytes", [0, 1, 2, 3, 56, 57, 58, 911, 912, 913, 58_367, 58_368, 58_369, 200_000]
)
def test_attachment_of_any_size_is_in_lines_of_76_characters(size_bytes: int) -> None:
    body = random.Random(size_bytes).randbytes(size_bytes)  # noqa: S311 - repeatable, not secret
    attachment = Attachment(filename="a", content_type="a/b", body=body)
    message = build_message(make_email(attachments=(attachment,)))
    (part,) = parse(message).iter_attachments()
    assert part.get_payload(decode=True) == body
    assert base64.encodebytes(body).replace(b"\n", b"\r\n") in message


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        ("2026-03-01T00:30:05+02:00", "Sat, 28 Feb 2026 22:30:05 +0000"),
        ("2024-02-29T23:59:59.999999+00:00", "Thu, 29 Feb 2024 23:59:59 +0000"),
    ],
)
def test_date_is_in_utc_and_english(moment: str, written: str) -> None:
    created_at = dt.datetime.fromisoformat(moment)
    message = parse(build_message(make_email(created_at=created_at)))
    assert message["Date"] == written
    assert message["Date"].datetime == created_at.replace(microsecond=0)


@pytest.mark.parametrize("header", ["List-Unsubscribe", "X-Long"])
def test_tenant_header_is_folded_at_spaces_and_otherwise_unchanged(header: str) -> None:
    value = "<https://example.com/u/" + "a" * 300 + ">, <mailto:u@example.com?subject=stop>"
    message = build_message(make_email(headers={header: value}))
    folded = message.split(header.encode() + b": ")[1]
    unfolded = re.split(rb"\r\n(?! )", folded)[0].replace(b"\r\n", b"")
    assert unfolded == value.encode("ascii")


def test_every_header_line_that_can_be_short_is() -> None:
    message = build_message(
        make_email(
            subject="Ünïcödé wörds " * 30,
            from_header="A long name with words " * 10 + "<a@example.com>",
            to=tuple(f"Persön {number} <p{number}@example.net>" for number in range(50)),
            headers={"References": " ".join(f"<{number}@example.com>" for number in range(99))},
            attachments=(Attachment(filename="报告 " * 50, content_type="a/b", body=b""),),
        )
    )
    assert max(map(len, message.split(b"\r\n"))) <= 78


@pytest.mark.parametrize("word", ["word ", "é", "🎉 ", "Ü-"])
def test_subject_of_any_length_is_in_short_lines(word: str) -> None:
    for count in range(1, 60):
        message = build_message(make_email(subject=(word * count).strip()))
        assert max(map(len, message.split(b"\r\n"))) <= 78
        assert str(parse(message)["Subject"]) == (word * count).strip()


def test_head_that_no_relay_takes_is_refused() -> None:
    headers = {f"X-{number}": "word " * 190 for number in range(HEAD_MAX_BYTES // 950)}
    with pytest.raises(EmailNotBuildable):
        build_message(make_email(headers=headers | {"X-Last": "word " * 190}))


HOSTILE = ["a\r\nBcc: eve@example.net", "a\nb", "a\rb", "a\x00b", "a\x0bb", "a\x1cBcc:b", "a\x85b"]
HOSTILE += ["a\u2028b", "a\u2029b", "a\x7fb", "a\ud800b"]


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
@pytest.mark.parametrize(
    "place", ["subject", "from", "to", "cc", "reply_to", "header", "filename", "content_type"]
)
def test_control_character_is_refused_wherever_a_header_is_made_of_it(
    place: str, value: str
) -> None:
    fields: dict[str, object] = {
        "subject": {"subject": value},
        "from": {"from_header": f"{value} <a@example.com>"},
        "to": {"to": (f"{value} <a@example.net>",)},
        "cc": {"cc": (f"a@{value}",)},
        "reply_to": {"reply_to": (f"{value}@example.net",)},
        "header": {"headers": {"X-Custom": value}},
        "filename": {
            "attachments": (Attachment(filename=value, content_type="a/b", body=b""),),
        },
        "content_type": {
            "attachments": (
                Attachment(filename="a", content_type=f"text/plain; n={value}", body=b""),
            ),
        },
    }[place]  # type: ignore[assignment]  # The chosen value is itself the mapping of fields.
    with pytest.raises(EmailNotBuildable) as caught:
        build_message(make_email(**fields))
    assert value not in str(caught.value)


RESERVED = ["Bcc", "bCC", "Received", "DKIM-Signature", "Return-Path", "ARC-Seal", "Sender"]
RESERVED += ["From", "To", "Message-ID", "Content-Type", "X-Tallypost-Email-Id", "Resent-Bcc"]
MALFORMED = ["", "X Y", "X:Y", "X\r\nBcc", "X\x00", "Ünï", "x" * 77]


@pytest.mark.parametrize("name", RESERVED + MALFORMED, ids=ascii)
def test_reserved_or_malformed_header_name_is_refused(name: str) -> None:
    with pytest.raises(EmailNotBuildable):
        build_message(make_email(headers={name: "value"}))


@pytest.mark.parametrize(
    "fields",
    [
        {"to": ("no-at-sign",)},
        {"to": ("@example.net",)},
        {"to": ("a@",)},
        {"to": ("ü@example.net",)},
        {"to": ("a b@example.net",)},
        {"to": ("a@exa mple.net",)},
        {"to": ("a@example.net>, <b@example.net",)},
        {"to": ("a@b@example.net",)},
        {"from_header": ""},
        {"headers": {"X-A": "x" * 1000}},
        {"attachments": (Attachment(filename="a", content_type="nonsense", body=b""),)},
        {
            "html": "x",
            "attachments": (
                Attachment(filename="a", content_type="a/b", body=b"", content_id="a> <b"),
            ),
        },
    ],
)
def test_what_no_header_can_hold_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(EmailNotBuildable):
        build_message(make_email(**fields))


def test_large_email_of_every_shape_needs_no_extension_of_any_peer() -> None:
    email_: OutgoingEmail = make_email(
        subject="Ünïcödé " * 100,
        from_header="名前" * 80 + " <hello@例え.テスト>",
        html="<p>" + "é" * 20000,
        headers={"X-Long": "word " * 500, "X-Script": "слово " * 300},
        attachments=(LOGO, INVOICE),
    )
    message = build_message(email_)
    assert message.isascii()
    assert all(len(line) <= 998 for line in message.split(b"\r\n"))
    assert b"\r" not in message.replace(b"\r\n", b"")
    assert b"\n" not in message.replace(b"\r\n", b"")
    assert message.endswith(b"\r\n")
