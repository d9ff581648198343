"""Decodes attachments of a request, and keeps the large ones out of the database."""

import base64
import binascii
import mimetypes
import re
from collections.abc import Sequence

from msgspec import Struct

from tallypost_domain.emails.addresses import FORBIDDEN_IN_HEADERS
from tallypost_domain.emails.errors import FieldNotSupported, InvalidAttachment, InvalidField
from tallypost_domain.emails.types import NewAttachment

MAX_ATTACHMENTS = 100
INLINE_LIMIT_BYTES = 256_000
"""Larger bodies go to the object store; smaller ones stand in the email's row."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # RFC 6838, section 4.2.
_PARAMETER = rf'[ \t]*;[ \t]*{_NAME}=(?:{_NAME}|"[ !#-:<-\[\]-~]{{0,250}}")'
_CONTENT_TYPE = re.compile(rf"(?P<type>{_NAME}/{_NAME})(?P<parameters>(?:{_PARAMETER}){{0,10}})")
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,128}")
_FALLBACK_TYPE = "application/octet-stream"


class AttachmentRequest(Struct):
    """An attachment as it came: content as base64 text or as a list of byte values."""

    filename: str | None = None
    content: str | list[int] | None = None
    path: str | None = None
    content_type: str | None = None
    content_id: str | None = None
    inline_content_id: str | None = None


class StoredAttachment(Struct, frozen=True, omit_defaults=True):
    """An attachment in an email's row: its body is here as base64, or in the object store."""

    filename: str
    content_type: str
    size_bytes: int
    content_id: str | None = None
    body: str | None = None
    object_key: str | None = None


def decode_attachments(requests: Sequence[AttachmentRequest]) -> tuple[NewAttachment, ...]:
    """Check and decode all attachments of one email.

    Raises InvalidAttachment, or FieldNotSupported for `path`, naming the field.
    """
    if len(requests) > MAX_ATTACHMENTS:
        raise InvalidAttachment(
            f"The `attachments` field has more than {MAX_ATTACHMENTS} entries.", field="attachments"
        )
    return tuple(
        _decode(request, f"attachments[{index}]") for index, request in enumerate(requests)
    )


def _decode(request: AttachmentRequest, where: str) -> NewAttachment:
    if request.path:
        raise FieldNotSupported(
            f"The `{where}.path` field is not supported yet; send the bytes in `content`.",
            field=f"{where}.path",
        )
    if request.content is None:
        raise InvalidAttachment(
            f"The `{where}.content` field is missing.", field=f"{where}.content"
        )
    filename = request.filename or "attachment"
    if FORBIDDEN_IN_HEADERS.search(filename) or len(filename) > 255:
        raise InvalidAttachment(
            f"The `{where}.filename` field holds a control character or is longer than 255 "
            "characters.",
            field=f"{where}.filename",
        )
    return NewAttachment(
        filename=filename,
        content_type=_content_type(request.content_type, filename, where),
        content_id=_content_id(request.content_id or request.inline_content_id, where),
        body=_body(request.content, where),
    )


def _body(content: str | list[int], where: str) -> bytes:
    try:
        if isinstance(content, str):
            return base64.b64decode("".join(content.split()), validate=True)
        return bytes(content)
    except (binascii.Error, ValueError) as error:
        raise InvalidAttachment(
            f"The `{where}.content` field is neither base64 nor a list of numbers 0 to 255.",
            field=f"{where}.content",
        ) from error


def _content_type(given: str | None, filename: str, where: str) -> str:
    if given is None:
        guessed, encoding = mimetypes.guess_type(filename)
        # A name such as `data:x/y z,` makes the library read the type out of it, and the type
        # of `a.tar.gz` is that of the tar inside.
        if guessed is None or encoding is not None:
            return _FALLBACK_TYPE
        return _usable_type(guessed) or _FALLBACK_TYPE
    content_type = _usable_type(given)
    if content_type is None:
        raise InvalidAttachment(
            f"The `{where}.content_type` field is not a media type such as `application/pdf`.",
            field=f"{where}.content_type",
        )
    return content_type


def _usable_type(text: str) -> str | None:
    match = _CONTENT_TYPE.fullmatch(text.strip())
    # RFC 2046, 5.1 and 5.2.1: neither multipart/* nor message/* may be base64.
    if match is None or match["type"].lower().startswith(("multipart/", "message/")):
        return None
    # Parameters stay: without `method=REQUEST` a calendar file is no invitation.
    return match["type"].lower() + match["parameters"].rstrip()


def _content_id(given: str | None, where: str) -> str | None:
    if not given:
        return None
    content_id = given.removeprefix("<").removesuffix(">")
    if not _CONTENT_ID.fullmatch(content_id):
        raise InvalidField(
            f"The `{where}.content_id` field must be 1 to 128 visible ASCII characters without "
            "angle brackets.",
            field=f"{where}.content_id",
        )
    return content_id
