"""What a person sees of a stored message."""

from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_domain.inbox.contents import MAX_PARTS, read_contents


def make_message(text: str = "Hello", html: str | None = "<p>Hello</p>") -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["Subject"] = "Grüße"
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    return message


def test_bodies_and_headers_are_decoded() -> None:
    contents = read_contents(bytes(make_message("Grüße\nzwei", "<p>Grüße</p>")))
    assert contents.text is not None
    assert contents.text.strip() == "Grüße\nzwei"
    assert contents.html is not None
    assert contents.html.strip() == "<p>Grüße</p>"
    assert ("Subject", "Grüße") in [(header.name, header.value) for header in contents.headers]
    assert contents.parts == ()


def test_attachments_and_inline_images_are_parts() -> None:
    message = make_message()
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Größe.pdf")
    message.add_attachment(b"PNG", maintype="image", subtype="png", cid="<logo>")
    parts = read_contents(bytes(message)).parts
    assert [(part.filename, part.content_type, part.content_id, part.body) for part in parts] == [
        ("Größe.pdf", "application/pdf", None, b"%PDF"),
        (None, "image/png", "logo", b"PNG"),
    ]


def test_attached_text_is_no_body() -> None:
    message = make_message("The body", None)
    message.add_attachment("Notes", filename="notes.txt")
    contents = read_contents(bytes(message))
    assert contents.text is not None
    assert contents.text.strip() == "The body"
    assert [part.filename for part in contents.parts] == ["notes.txt"]


def test_message_inside_a_message_is_an_attachment() -> None:
    message = make_message("Outer", None)
    message.add_attachment(make_message("Inner", "<p>Inner</p>"))
    contents = read_contents(bytes(message))
    assert contents.html is None
    assert [part.content_type for part in contents.parts] == ["message/rfc822"]


@pytest.mark.parametrize("charset", ["no-such-charset", "hex", "undefined", "idna"])
def test_unusable_charset_is_read_as_utf_8(charset: str) -> None:
    raw = f"Content-Type: text/plain; charset={charset}\r\n\r\nGrüße".encode()
    assert read_contents(raw).text == "Grüße"


def test_malformed_header_block_shows_no_headers_but_a_body() -> None:
    contents = read_contents(b"Subject: a\rb\r\n\r\nThe body")
    assert contents.headers == ()
    assert contents.text is not None


def test_parts_are_bounded() -> None:
    part = b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n"
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * (MAX_PARTS + 50)
    assert len(read_contents(raw + b"--b--\r\n").parts) == MAX_PARTS


def test_nesting_is_bounded() -> None:
    raw = b"Content-Type: text/plain\r\n\r\nToo deep"
    for depth in range(30):
        boundary = b"b%d" % depth
        raw = b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n%b\r\n--%b--\r\n" % (
            boundary,
            boundary,
            raw,
            boundary,
        )
    contents = read_contents(raw)
    assert (contents.text, contents.parts) == (None, ())


@given(st.binary(max_size=400))
def test_no_bytes_raise(raw: bytes) -> None:
    for message in (raw, b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + raw):
        read_contents(message)
