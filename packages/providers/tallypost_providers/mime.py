"""Writes an email as a MIME message: a pure function, so that a retry sends the same bytes.

The tree and its serialisation are the standard library's; header values come finished from
`header_encoding`, and nothing is ever parsed and written again (that is how header injection
happened in several releases of the `email` package). The output is 7-bit with CRLF line ends and
no line over 998 octets, so it needs no extension of any peer.
"""

import base64
import binascii
import datetime as dt
import io
import re
from collections.abc import Iterator
from email.generator import BytesGenerator
from email.message import Message
from email.policy import EmailPolicy
from email.utils import format_datetime
from typing import TypeAlias

from tallypost_providers.addresses import parse_mailbox, require_printable
from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.header_encoding import (
    encode_as_written,
    encode_mailboxes,
    encode_parameter,
    encode_text,
)
from tallypost_providers.types import (
    EMAIL_ID_HEADER,
    Attachment,
    OutgoingEmail,
    is_reserved_header,
    message_id,
)

_HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")
_NAME = r"[A-Za-z0-9!#$&^_.+-]{1,127}"  # RFC 6838, section 4.2.
_PARAMETER = rf'[ \t]*;[ \t]*{_NAME}=(?:{_NAME}|"[ !#-:<-\[\]-~]{{0,250}}")'
_CONTENT_TYPE = re.compile(rf"({_NAME})/({_NAME})((?:{_PARAMETER})*)")
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,250}")
_OPAQUE_TYPE = "application/octet-stream"
_ASCII = bytes(range(0x80))


class _FinishedHeaders(EmailPolicy):
    """The library's SMTP policy, but header values are written as they were set."""

    def header_store_parse(self, name: str, value: str) -> tuple[str, str]:
        return name, value

    def header_fetch_parse(self, name: str, value: str) -> str:
        return value

    def header_max_count(self, name: str) -> int | None:
        return None

    def fold_binary(self, name: str, value: str) -> bytes:
        return f"{name}: {value}\r\n".encode("ascii")


_POLICY = _FinishedHeaders(linesep="\r\n", max_line_length=None)
# Generic for the type checker only.
_Part: TypeAlias = "Message[str, str]"


def build_message(email: OutgoingEmail) -> bytes:
    """The email as MIME bytes, the same bytes each time.

    Bcc recipients are in the envelope only. Date is `created_at`, Message-ID and the boundaries
    come from the email's id. A text body ends with a line end, added where it has none.
    Raises EmailNotBuildable for an address without ASCII form, a control character in anything
    that becomes a header, a reserved header name, or an unusable content type or id.
    """
    root = _body_tree(email)
    message = Message(policy=_POLICY)
    for name, value in _message_headers(email):
        message[name] = value
    for name, value in root.items():
        message[name] = value
    message.set_payload(root.get_payload())
    buffer = io.BytesIO()
    BytesGenerator(buffer, mangle_from_=False, policy=_POLICY).flatten(message)
    return buffer.getvalue()


def _message_headers(email: OutgoingEmail) -> Iterator[tuple[str, str]]:
    sender = parse_mailbox(email.from_header, "from")
    yield "Date", format_datetime(email.created_at.astimezone(dt.UTC))
    yield "From", encode_mailboxes("From", [sender])
    for name, addresses in (("Reply-To", email.reply_to), ("To", email.to), ("Cc", email.cc)):
        if addresses:
            field = name.lower().replace("-", "_")
            yield name, encode_mailboxes(name, [parse_mailbox(text, field) for text in addresses])
    yield "Subject", encode_text("Subject", email.subject)
    yield "Message-ID", message_id(email.email_id, sender.domain)
    for name, value in email.headers.items():
        if not _HEADER_NAME.fullmatch(name) or is_reserved_header(name):
            raise EmailNotBuildable("A header name is reserved or malformed.", field="headers")
        yield name, encode_as_written(name, value)
    yield EMAIL_ID_HEADER, str(email.email_id)
    yield "MIME-Version", "1.0"


def _body_tree(email: OutgoingEmail) -> _Part:
    """mixed(alternative(text, related(html, inline images)), attachments), less what is absent."""
    boundaries = (f"=_{email.email_id.hex}_{number}" for number in range(3))
    # Without html nothing can refer to an inline part: it becomes an attachment like others.
    can_inline = email.html is not None
    inline = [item for item in email.attachments if item.content_id and can_inline]
    others = [item for item in email.attachments if not (item.content_id and can_inline)]
    bodies: list[_Part] = []
    if email.text is not None or email.html is None:
        bodies.append(_text_part("plain", email.text or ""))
    if email.html is not None:
        html = _text_part("html", email.html)
        if inline:
            parts = [html, *(_attachment_part(item, "inline") for item in inline)]
            html = _multipart("related", next(boundaries), parts, '; type="text/html"')
        bodies.append(html)
    root = bodies[0]
    if len(bodies) > 1:
        root = _multipart("alternative", next(boundaries), bodies)
    if others:
        parts = [root, *(_attachment_part(item, "attachment") for item in others)]
        root = _multipart("mixed", next(boundaries), parts)
    return root


def _multipart(subtype: str, boundary: str, parts: list[_Part], parameters: str = "") -> _Part:
    # "=_" can occur in neither base64 nor quoted-printable, so no part holds its own boundary.
    part = Message(policy=_POLICY)
    part["Content-Type"] = f'multipart/{subtype}{parameters};\r\n boundary="{boundary}"'
    part.set_payload([*parts])
    return part


def _text_part(subtype: str, text: str) -> _Part:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    if lines and not lines.endswith("\n"):
        lines += "\n"
    try:
        body = lines.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EmailNotBuildable("A body is not Unicode text.", field=subtype) from error
    part = Message(policy=_POLICY)
    part["Content-Type"] = f"text/{subtype}; charset=utf-8"
    # Quoted-printable takes three characters for a byte outside ASCII, base64 always four for
    # three bytes: where more than a sixth is outside, base64 is shorter.
    if len(body.translate(None, delete=_ASCII)) * 6 > len(body):
        part["Content-Transfer-Encoding"] = "base64"
        part.set_payload(_base64_lines(body.replace(b"\n", b"\r\n")))
    else:
        part["Content-Transfer-Encoding"] = "quoted-printable"
        part.set_payload(binascii.b2a_qp(body, istext=True).decode("ascii"))
    return part


def _attachment_part(attachment: Attachment, disposition: str) -> _Part:
    part = Message(policy=_POLICY)
    part["Content-Type"] = _content_type(attachment)
    part["Content-Transfer-Encoding"] = "base64"
    filename = encode_parameter("filename", attachment.filename) if attachment.filename else ""
    part["Content-Disposition"] = disposition + filename
    if attachment.content_id:
        if not _CONTENT_ID.fullmatch(attachment.content_id):
            raise EmailNotBuildable("A content id is not usable.", field="attachments")
        part["Content-ID"] = f"<{attachment.content_id}>"
    part.set_payload(_base64_lines(attachment.body))
    return part


def _content_type(attachment: Attachment) -> str:
    require_printable(attachment.content_type, "attachments")
    match = _CONTENT_TYPE.fullmatch(attachment.content_type.strip())
    if not match:
        raise EmailNotBuildable("A content type is not usable.", field="attachments")
    # Base64 is forbidden on message/rfc822 and on every multipart (RFC 2045, section 6.4), and
    # their content would be read as part of this message: they travel as opaque files.
    if match[1].lower() in {"message", "multipart"}:
        return _OPAQUE_TYPE
    written = f"{match[1]}/{match[2]}".lower()
    for parameter in filter(None, (piece.strip() for piece in match[3].split(";"))):
        written += f";\r\n {parameter}"
    return written


def _base64_lines(body: bytes) -> str:
    return base64.encodebytes(body).decode("ascii")
