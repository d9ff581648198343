"""The parts of a message: how each is encoded, and how they are put around one another.

A part is finished bytes. Every encoding here keeps the message 7-bit: a relay that does not offer
8BITMIME would have to write the message anew (RFC 6152, section 3), and with it break the
signature. So nothing depends on what a peer offers.
"""

import binascii
import re
from collections.abc import Sequence
from struct import Struct as Layout
from typing import NamedTuple

from tallypost_providers.addresses import require_printable
from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.header_encoding import encode_parameter
from tallypost_providers.types import Attachment

Field = tuple[str, str]
"""A header's name and its finished value: ASCII, folded, without the last line end."""

_NAME = r"[A-Za-z0-9!#$&^_.+-]{1,127}"  # RFC 6838, section 4.2.
_PARAMETER = rf'[ \t]*;[ \t]*{_NAME}=(?:{_NAME}|"[ !#-:<-\[\]-~]{{0,250}}")'
_CONTENT_TYPE = re.compile(rf"({_NAME})/({_NAME})((?:{_PARAMETER})*)")
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,250}")
_OPAQUE_TYPE = "application/octet-stream"

_ASCII = bytes(range(0x80))
# All but TAB and LF; CR is gone once line ends are normalised.
_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09, 0x0A})
# The standard allows 998 (RFC 5322, section 2.1.1); Sendmail's SMTP mailers cut lines at 990.
_PLAIN_LINE_MAX_BYTES = 990
_ENCODED_LINE_CHARS = 76  # RFC 2045, sections 6.7 and 6.8.
# Base64 is cut into lines by a fixed layout, many at a time: it takes a third of the time that
# slices take. A block is what is encoded at once, so that megabytes need no second copy and other
# threads get their turn.
_LINES_AT_ONCE = 16
_CUT_LINES = Layout(f"{_ENCODED_LINE_CHARS}s" * _LINES_AT_ONCE)
_BLOCK_BYTES = _ENCODED_LINE_CHARS // 4 * 3 * _LINES_AT_ONCE * 64
# Bytes that no UTF-8 text holds stand for the space or TAB before a line end.
_SPACE_AT_END, _TAB_AT_END = b"\xff", b"\xfe"


class Part(NamedTuple):
    """One body part: its Content- fields, and its body in pieces that each end with a line end."""

    fields: Sequence[Field]
    body: Sequence[bytes]


def write_fields(fields: Sequence[Field], before: str = "", after: str = "") -> bytes:
    """Header lines, with other finished lines around them."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
    return f"{before}{lines}{after}".encode("ascii")


def multipart(subtype: str, boundary: str, parts: Sequence[Part], parameters: str = "") -> Part:
    """Parts in a multipart. boundary must occur in none of them; see `text_part`."""
    body: list[bytes] = []
    before = ""
    for part in parts:
        body.append(write_fields(part.fields, before=f"{before}--{boundary}\r\n", after="\r\n"))
        body += part.body
        before = "\r\n"
    body.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
    content_type = f'multipart/{subtype}{parameters};\r\n boundary="{boundary}"'
    return Part((("Content-Type", content_type),), body)


def text_part(subtype: str, text: str, boundary_stem: str) -> Part:
    """A text in the shortest encoding that is 7-bit and survives every relay.

    It ends with a line end, added where it has none. A text that holds boundary_stem, the part
    that all boundaries of the message share, never goes as it is: encoded, no line of it can look
    like a boundary, which starts with `=_`.
    Raises EmailNotBuildable for half a surrogate pair.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text and not text.endswith("\n"):
        text += "\n"
    try:
        lines = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EmailNotBuildable("A body is not Unicode text.", field=subtype) from error
    body = lines.replace(b"\n", b"\r\n")
    if _is_plain(lines) and boundary_stem.encode("ascii") not in lines:
        encoding = "7bit"
    # Quoted-printable takes three characters for a byte outside ASCII, base64 always four for
    # three bytes: where more than a sixth is outside, base64 is shorter.
    elif len(lines.translate(None, delete=_ASCII)) * 6 > len(lines):
        encoding, body = "base64", base64_lines(body)
    else:
        encoding, body = "quoted-printable", quoted_printable(body)
    fields = (
        ("Content-Type", f"text/{subtype}; charset=utf-8"),
        ("Content-Transfer-Encoding", encoding),
    )
    return Part(fields, (body,))


def attachment_part(attachment: Attachment, disposition: str) -> Part:
    """An attachment, always in base64: its bytes come back exactly, line ends and all.

    Raises EmailNotBuildable for a file name, content type or content id that no header can hold.
    """
    filename = encode_parameter("filename", attachment.filename) if attachment.filename else ""
    fields = [
        ("Content-Type", _content_type(attachment)),
        ("Content-Transfer-Encoding", "base64"),
        ("Content-Disposition", disposition + filename),
    ]
    if attachment.content_id:
        if not _CONTENT_ID.fullmatch(attachment.content_id):
            raise EmailNotBuildable("A content id is not usable.", field="attachments")
        fields.append(("Content-ID", f"<{attachment.content_id}>"))
    return Part(fields, (base64_lines(attachment.body),))


def base64_lines(body: bytes) -> bytes:
    """Base64 in lines of 76 characters, each ended by CRLF."""
    view = memoryview(body)
    return b"".join(
        [
            _cut_lines(binascii.b2a_base64(view[start : start + _BLOCK_BYTES], newline=False))
            for start in range(0, len(body), _BLOCK_BYTES)
        ]
    )


def quoted_printable(body: bytes) -> bytes:
    """Quoted-printable of UTF-8 text with CRLF line ends, no line over 76 characters.

    No line starts with `From `, which mailbox files would change, and none is a lone dot.
    """
    # The encoder escapes a space before a line end too late to count it: a line of 77 characters
    # would come out. As a byte outside ASCII it is counted.
    if b" \r\n" in body or (b"\t" in body and b"\t\r\n" in body):
        marked = body.replace(b" \r\n", _SPACE_AT_END + b"\r\n")
        marked = marked.replace(b"\t\r\n", _TAB_AT_END + b"\r\n")
        encoded = binascii.b2a_qp(marked, istext=True)
        encoded = encoded.replace(b"=FF", b"=20").replace(b"=FE", b"=09")
    else:
        encoded = binascii.b2a_qp(body, istext=True)
    if encoded.startswith(b"From "):
        encoded = b"=46=\r\n" + encoded[1:]
    # The encoder sees to a lone dot of the text, not to one that its own soft line break leaves.
    encoded = encoded.replace(b"\n.\r\n", b"\n=2E\r\n")
    # The soft line break keeps the line from growing past its limit.
    return encoded.replace(b"\nFrom ", b"\n=46=\r\nrom ")


def _is_plain(text: bytes) -> bool:
    """True where no relay or mailbox file has a reason to change a byte.

    text must be empty or end with LF, as `text_part` sees to: of one that ends without, a lone
    dot at the very end would pass.
    A lone dot ends a message in SMTP; with none in any body, no fault of a peer in taking dots
    away can make two messages of one.
    """
    # Single bytes are found at the speed of memory; of longer words CPython finds the last in a
    # fraction of the time that it takes for the first (1 against 4 to 6 µs for 10 kB).
    if not text.isascii() or any(map(text.__contains__, _CONTROLS)):
        return False
    if text.startswith((b"From ", b".\n")) or text.rfind(b"\nFrom ") >= 0:
        return False
    return text.rfind(b"\n.\n") < 0 and _has_short_lines(text)


def _has_short_lines(text: bytes) -> bool:
    start = 0
    while len(text) - start > _PLAIN_LINE_MAX_BYTES:
        # The last line end within reach: every line up to there is short.
        end = text.rfind(b"\n", start, start + _PLAIN_LINE_MAX_BYTES + 1)
        if end < 0:
            return False
        start = end + 1
    return True


def _cut_lines(encoded: bytes) -> bytes:
    whole = len(encoded) // _CUT_LINES.size * _CUT_LINES.size
    lines: list[bytes] = []
    for together in _CUT_LINES.iter_unpack(memoryview(encoded)[:whole]):
        lines += together
    lines += [
        encoded[start : start + _ENCODED_LINE_CHARS]
        for start in range(whole, len(encoded), _ENCODED_LINE_CHARS)
    ]
    lines.append(b"")
    return b"\r\n".join(lines)


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
