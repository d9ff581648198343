"""Attachments come in several encodings; what is kept is bytes and words that a header can hold."""

import base64
import mimetypes
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_core.errors import AppError
from tallypost_domain.emails.attachments import (
    MAX_ATTACHMENTS,
    AttachmentRequest,
    content_type_of_answer,
    decode_attachments,
)
from tallypost_domain.emails.errors import InvalidAttachment, InvalidField
from tallypost_domain.emails.types import NewAttachment, RemoteBody
from tallypost_providers.mime import build_message
from tallypost_providers.types import Attachment
from tests.unit.providers.emails import make_email

BODY = bytes(range(256))
ENCODED = base64.b64encode(BODY).decode()
URL = "https://files.example.com/2026/report.pdf?token=x"
IN_LINES = base64.encodebytes(BODY).decode()


# Any: each field of a request has a type of its own.
def decode(**fields: Any) -> NewAttachment:
    request = AttachmentRequest(**{"filename": "a.bin", "content": "", **fields})
    (attachment,) = decode_attachments([request])
    return attachment


@pytest.mark.parametrize(
    "content",
    [
        ENCODED,
        IN_LINES,
        IN_LINES.replace("\n", "\r\n"),
        f"  {ENCODED}\t\n",
        list(BODY),
    ],
)
def test_base64_with_or_without_lines_and_lists_of_numbers_give_the_bytes(content: Any) -> None:
    assert decode(content=content).body == BODY


@pytest.mark.parametrize("content", ["", "  \r\n", []])
def test_empty_attachment_is_an_attachment(content: Any) -> None:
    assert decode(content=content).body == b""


@pytest.mark.parametrize(
    "content",
    [
        "QUFB?",
        "QUF",
        "Q",
        "QUFB=QUFB",
        "QQ==QQ==",
        "-_-_",
        "data:text/plain;base64,QUFB",
        "é",
        "\ud800",
        "QUFB\x00",
        [256],
        [-1],
        [0, 10**30],
        [-(10**30)],
    ],
)
def test_other_content_is_refused_by_name(content: Any) -> None:
    good = AttachmentRequest(filename="a", content="QUFB")
    with pytest.raises(InvalidAttachment) as caught:
        decode_attachments([good, AttachmentRequest(filename="b", content=content)])
    assert caught.value.field == "attachments[1].content"
    assert "`attachments[1].content`" in caught.value.message


@pytest.mark.parametrize(
    ("content", "path", "field"),
    [
        (None, None, "attachments[0].content"),
        (None, "", "attachments[0].content"),
        ("QUFB", URL, "attachments[0].path"),
        ("", URL, "attachments[0].path"),
    ],
)
def test_attachment_has_either_content_or_a_path(
    content: str | None, path: str | None, field: str
) -> None:
    with pytest.raises(InvalidAttachment) as caught:
        decode(content=content, path=path)
    assert caught.value.field == field
    assert "`attachments[0]`" in caught.value.message


def test_attachment_with_a_path_is_still_to_be_fetched() -> None:
    attachment = decode(content=None, path=URL, filename=None)
    assert attachment.remote == RemoteBody(URL, is_type_open=True)
    assert (attachment.filename, attachment.body) == ("report.pdf", b"")


def test_attachment_with_content_is_not_fetched() -> None:
    assert decode(content="QUFB").remote is None


@pytest.mark.parametrize(
    "path",
    [
        "files.example.com/a.pdf",
        "/files/a.pdf",
        "file:///etc/passwd",
        "ftp://files.example.com/a.pdf",
        "data:text/plain,hello",
        "http://",
        "https:///a.pdf",
        "https://user:secret@files.example.com/a.pdf",
        "https://files.example.com\\@127.0.0.1/a.pdf",
        "https://files.example.com/a b.pdf",
        "https://files.example.com/a\r\nX: y",
        "https://files.example.com/\x00",
        "https://files.example.com/\ud800",
        "https://files.example.com/" + "a" * 2048,
    ],
)
def test_path_that_is_no_url_is_refused_by_name(path: str) -> None:
    good = AttachmentRequest(filename="a", content="QUFB")
    with pytest.raises(InvalidAttachment) as caught:
        decode_attachments([good, AttachmentRequest(path=path)])
    assert caught.value.field == "attachments[1].path"
    assert "`attachments[1].path`" in caught.value.message
    assert path not in caught.value.message


@pytest.mark.parametrize(
    ("path", "filename"),
    [
        ("https://files.example.com/a/b/report.pdf", "report.pdf"),
        ("https://files.example.com/report.pdf?v=/2.txt#/3.txt", "report.pdf"),
        ("https://files.example.com/%C3%BCber%20uns.pdf", "über uns.pdf"),
        ("https://files.example.com/a%2Fb.pdf", "b.pdf"),
        ("https://files.example.com/a%5Cb.pdf", "b.pdf"),
        ("https://files.example.com", "attachment"),
        ("https://files.example.com/", "attachment"),
        ("https://files.example.com?a.pdf", "attachment"),
        ("https://files.example.com/a/..", "attachment"),
        ("https://files.example.com/a%0D%0AX:%20y", "attachment"),
        ("https://files.example.com/" + "n" * 256, "attachment"),
        ("https://[/a.pdf", "a.pdf"),
    ],
)
def test_name_is_the_last_segment_of_the_path_where_none_is_given(path: str, filename: str) -> None:
    assert decode(content=None, path=path, filename=None).filename == filename
    assert decode(content=None, path=path, filename="given.bin").filename == "given.bin"


@pytest.mark.parametrize(
    ("told", "filename", "expected"),
    [
        ("image/PNG", "a.pdf", "image/png"),
        ("text/csv; charset=utf-8", "a", "text/csv; charset=utf-8"),
        (None, "a.pdf", "application/pdf"),
        ("", "a.pdf", "application/pdf"),
        ("application/octet-stream", "a.pdf", "application/pdf"),
        ("binary/octet-stream", "a.pdf", "application/pdf"),
        ("binary/octet-stream", "a", "application/octet-stream"),
        ("multipart/form-data; boundary=x", "a.pdf", "application/pdf"),
        ("message/rfc822", "a.eml", "application/octet-stream"),
        ("text/html\r\nX: y", "a.pdf", "application/pdf"),
        ("nonsense", "a", "application/octet-stream"),
    ],
)
def test_type_of_a_fetched_body_is_as_told_or_follows_from_its_name(
    told: str | None, filename: str, expected: str
) -> None:
    assert content_type_of_answer(told, filename) == expected


def test_hundred_attachments_pass_and_one_more_does_not() -> None:
    request = AttachmentRequest(filename="a", content="")
    assert len(decode_attachments([request] * MAX_ATTACHMENTS)) == MAX_ATTACHMENTS
    with pytest.raises(InvalidAttachment) as caught:
        decode_attachments([request] * (MAX_ATTACHMENTS + 1))
    assert caught.value.field == "attachments"


@pytest.mark.parametrize(
    ("filename", "given", "expected"),
    [
        ("a.pdf", None, "application/pdf"),
        ("a.PNG", None, "image/png"),
        ("a.unknown-kind", None, "application/octet-stream"),
        (None, None, "application/octet-stream"),
        # Its type would be that of the tar inside.
        ("a.tar.gz", None, "application/octet-stream"),
        # Neither may be base64 (RFC 2046), so it travels as plain bytes.
        ("a.eml", None, "application/octet-stream"),
        # The library reads a type out of such a name.
        ("data:te xt/é,a", None, "application/octet-stream"),
        ("data:message/rfc822,a", None, "application/octet-stream"),
        ("a.pdf", "image/PNG", "image/png"),
        ("a.ics", "text/calendar; method=REQUEST", "text/calendar; method=REQUEST"),
        ("a.txt", ' text/plain; charset="utf-8" ', 'text/plain; charset="utf-8"'),
    ],
)
def test_type_is_the_given_one_or_follows_from_the_name(
    filename: str | None, given: str | None, expected: str
) -> None:
    assert decode(filename=filename, content_type=given).content_type == expected


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "pdf",
        "a/b/c",
        "text/plain\nX-A: b",
        'text/plain; name="a\r\nb"',
        "text/plain; charset",
        "text/plain;",
        "text/pläin",
        "multipart/mixed",
        "Message/RFC822",
        "text/" + "a" * 200,
        "text/plain" + "; a=b" * 11,
        "\ud800/a",
    ],
)
def test_what_is_no_media_type_is_refused_by_name(content_type: str) -> None:
    with pytest.raises(InvalidAttachment) as caught:
        decode(content_type=content_type)
    assert caught.value.field == "attachments[0].content_type"


@pytest.mark.parametrize("content_id", ["a@b", "<a@b>", "logo"])
@pytest.mark.parametrize("name", ["content_id", "inline_content_id"])
def test_content_id_has_two_names_and_loses_its_brackets(name: str, content_id: str) -> None:
    assert decode(**{name: content_id}).content_id == content_id.strip("<>")


@pytest.mark.parametrize("content_id", ["a b", "a>b", "é", "a\n", "a\r\nX: y", "x" * 129, "\x7f"])
def test_content_id_that_no_header_can_hold_is_refused_by_name(content_id: str) -> None:
    with pytest.raises(InvalidField) as caught:
        decode(content_id=content_id)
    assert caught.value.field == "attachments[0].content_id"


@pytest.mark.parametrize("filename", ["a\nb", "a\x00b", "a\x85b", "a\u2028b", "\ud800", "n" * 256])
def test_filename_that_no_header_can_hold_is_refused_by_name(filename: str) -> None:
    with pytest.raises(InvalidAttachment) as caught:
        decode(filename=filename)
    assert caught.value.field == "attachments[0].filename"


def try_to_decode(**fields: Any) -> NewAttachment | AppError:
    try:
        return decode(**fields)
    except AppError as error:
        return error


WORDS = st.text(max_size=40) | st.text('abc/;= ."<>:,\\\r\n', max_size=40)


@given(WORDS | st.none(), WORDS | st.none(), WORDS | st.none())
def test_what_is_let_through_can_always_be_written_as_a_message(
    filename: str | None, content_type: str | None, content_id: str | None
) -> None:
    kept = try_to_decode(filename=filename, content_type=content_type, content_id=content_id)
    if isinstance(kept, AppError):
        assert str(kept.field).startswith("attachments[0].")
        return
    attachment = Attachment(
        filename=kept.filename,
        content_type=kept.content_type,
        body=kept.body,
        content_id=kept.content_id,
    )
    # Raises where the writer cannot use a value; then the email would be a dead letter.
    build_message(make_email(html="<p>Hello", attachments=(attachment,)))


@given(st.sampled_from(sorted(mimetypes.types_map)))
def test_every_known_file_ending_gives_a_type_that_can_be_written(ending: str) -> None:
    kept = decode(filename=f"a{ending}")
    attachment = Attachment(filename="a", content_type=kept.content_type, body=b"")
    build_message(make_email(attachments=(attachment,)))
