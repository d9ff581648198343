"""Reads the header block of a message, strictly and within bounds, and writes none.

A message is stored and shown as the bytes that came. Parsing and writing again is what turns a
hidden line break into a header of its own, so nothing here can produce a message.
"""

import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from tallypost_domain.inbox.errors import MalformedHeaders
from tallypost_domain.inbox.types import Header

# An accepted email has 64 kB of headers before they are encoded and folded, which at most doubles
# them, and the platform adds a few of its own: what was accepted can be read.
MAX_BLOCK_BYTES = 256 * 1024
MAX_HEADERS = 500

_LINE_END = b"\r\n"
# RFC 5322, section 2.2: printable ASCII without the colon.
_NAME = re.compile(rb"[!-9;-~]{1,76}")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def read_headers(message: bytes) -> tuple[Header, ...]:
    """All header fields of a message in their order, unfolded.

    Raises MalformedHeaders where the block has no end within 256 kB, has more than 500 fields, a
    line that is no field, a NUL, or a CR or LF that is not part of a CRLF.
    """
    end = message.find(_LINE_END * 2, 0, MAX_BLOCK_BYTES)
    if end < 0:
        raise MalformedHeaders("no end of the header block")
    block = message[:end]
    rest = block.replace(_LINE_END, b"")
    if b"\r" in rest or b"\n" in rest or b"\x00" in rest:
        raise MalformedHeaders("a NUL, a bare CR or a bare LF")
    lines = _FOLD.sub(b"", block).split(_LINE_END)
    if len(lines) > MAX_HEADERS:
        raise MalformedHeaders("too many header fields")
    return tuple(_read_field(line) for line in lines)


def find_header(headers: tuple[Header, ...], name: str) -> str | None:
    """The value of the only field of that name; None where there is none.

    Raises MalformedHeaders where there are several: which one counts would be a guess.
    """
    values = [header.value for header in headers if header.name.lower() == name.lower()]
    if len(values) > 1:
        raise MalformedHeaders(f"more than one {name}")
    return values[0] if values else None


def decode(value: str) -> str:
    """A header value for reading: encoded words decoded (RFC 2047), one line, printable."""
    try:
        decoded = str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        decoded = value
    return printable(decoded)


def printable(text: str) -> str:
    """The text as one line that the database takes and a page shows."""
    return _UNPRINTABLE.sub(" ", text)


def _read_field(line: bytes) -> Header:
    name, colon, value = line.partition(b":")
    if not colon or not _NAME.fullmatch(name):
        raise MalformedHeaders("a line that is no header field")
    return Header(name.decode("ascii"), value.strip(b" \t").decode("utf-8", "replace"))
