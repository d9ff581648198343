"""Takes a message apart for reading; nothing here is ever sent.

The standard library's parser with its oldest policy: it decodes what it can and raises for
nothing that a message holds.
"""

import re
from email import message_from_bytes
from email.message import Message
from email.policy import compat32

from tallypost_domain.inbox.errors import MalformedHeaders
from tallypost_domain.inbox.headers import decode, printable, read_headers
from tallypost_domain.inbox.types import Header, MessageContents, MessagePart

MAX_PARTS = 100
MAX_DEPTH = 10

_LINE_ENDS = re.compile(r"\r\n|\r")


def read_contents(message: bytes) -> MessageContents:
    """Headers, bodies and parts of a message; the first body of each kind counts.

    Takes about 0.1 s for 5 MB, so call it in a thread. Where the header block is malformed the
    headers are left out. Parts beyond MAX_PARTS, or nested deeper than MAX_DEPTH, are left out.
    """
    leaves = _list_leaves(message_from_bytes(message, policy=compat32), 1)[:MAX_PARTS]
    bodies: dict[str, str] = {}
    parts: list[MessagePart] = []
    for leaf in leaves:
        kind = leaf.get_content_type()
        is_body = kind in ("text/plain", "text/html") and not _is_attachment(leaf)
        if is_body and kind not in bodies:
            bodies[kind] = _read_text(leaf)
        else:
            parts.append(_read_part(leaf))
    return MessageContents(
        headers=_read_for_people(message),
        text=bodies.get("text/plain"),
        html=bodies.get("text/html"),
        parts=tuple(parts),
    )


def _read_for_people(message: bytes) -> tuple[Header, ...]:
    try:
        headers = read_headers(message)
    except MalformedHeaders:
        return ()
    return tuple(Header(header.name, decode(header.value)) for header in headers)


def _list_leaves(part: "Message[str, str]", depth: int) -> list["Message[str, str]"]:
    # A message inside a message is an attachment, not more of this one.
    if part.get_content_maintype() != "multipart" or not part.is_multipart():
        return [part]
    if depth > MAX_DEPTH:
        return []
    leaves: list[Message[str, str]] = []
    for child in part.get_payload():
        if isinstance(child, Message) and len(leaves) < MAX_PARTS:
            leaves += _list_leaves(child, depth + 1)
    return leaves


def _is_attachment(part: "Message[str, str]") -> bool:
    return part.get_content_disposition() == "attachment" or part.get_filename() is not None


def _read_part(part: "Message[str, str]") -> MessagePart:
    filename = part.get_filename()
    content_id = part.get("Content-ID")
    return MessagePart(
        filename=None if filename is None else decode(filename),
        content_type=part.get_content_type(),
        content_id=None if content_id is None else printable(str(content_id)).strip(" <>"),
        body=_read_body(part),
    )


def _read_body(part: "Message[str, str]") -> bytes:
    payload = part.get_payload(decode=True)
    # A message inside a message has none: the parser keeps no bytes of it, and writing it anew
    # would make others.
    return payload if isinstance(payload, bytes) else b""


def _read_text(part: "Message[str, str]") -> str:
    body = _read_body(part)
    try:
        text = body.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):
        text = body.decode("utf-8", "replace")
    return _LINE_ENDS.sub("\n", text)
