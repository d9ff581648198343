"""Decodes attachments of a request, and keeps the large ones out of the database."""

import base64
import binascii
import mimetypes
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from tallypost_domain.emails.addresses import FORBIDDEN_IN_HEADERS
from tallypost_domain.emails.errors import InvalidAttachment, InvalidField
from tallypost_domain.emails.types import NewAttachment, RemoteBody

MAX_ATTACHMENTS = 100
INLINE_LIMIT_BYTES = 256_000
"""Larger bodies go to the object store; smaller ones stand in the email's row."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # RFC 6838, section 4.2.
_PARAMETER = rf'[ \t]*;[ \t]*{_NAME}=(?:{_NAME}|"[ !#-:<-\[\]-~]{{0,250}}")'
_CONTENT_TYPE = re.compile(rf"(?P<type>{_NAME}/{_NAME})(?P<parameters>(?:{_PARAMETER}){{0,10}})")
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,128}")
_FALLBACK_TYPE = "application/octet-stream"
# What servers say of a file that they know nothing about; its name may tell more.
_VAGUE_TYPES: Final = frozenset({_FALLBACK_TYPE, "binary/octet-stream"})
_FALLBACK_NAME: Final = "attachment"
_MAX_NAME_LENGTH: Final = 255
_MAX_URL_LENGTH: Final = 2048
_URL: Final = re.compile(
    "https?://[^\x00-\x20\x7f\ud800-\udfff/?#\\\\@]+(?:[/?#][^\x00-\x20\x7f\ud800-\udfff]*)?",
    re.IGNORECASE,
)


class AttachmentRequest(Struct):
    """An attachment as it came: content as base64 text or a list of byte values, or path."""

    filename: str | None = None
    content: str | list[int] | None = None
    path: str | None = None
    """URL that the body is fetched from."""
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
    """Check all attachments of one email, and decode those whose content came along.

    Raises InvalidAttachment or InvalidField, naming the field.
    """
    if len(requests) > MAX_ATTACHMENTS:
        raise InvalidAttachment(
            f"The `attachments` field has more than {MAX_ATTACHMENTS} entries.", field="attachments"
        )
    return tuple(
        _decode(request, f"attachments[{index}]") for index, request in enumerate(requests)
    )


def content_type_of_answer(header: str | None, filename: str) -> str:
    """The type of a fetched body: as its server says, or as its name lets guess."""
    told = _usable_type(header) if header else None
    return told if told and told not in _VAGUE_TYPES else _guessed_type(filename)


def _decode(request: AttachmentRequest, where: str) -> NewAttachment:
    remote = _remote(request, where)
    filename = request.filename or (_name_in_url(remote.url) if remote else _FALLBACK_NAME)
    if not _is_usable_name(filename):
        raise InvalidAttachment(
            f"The `{where}.filename` field holds a control character or is longer than "
            f"{_MAX_NAME_LENGTH} characters.",
            field=f"{where}.filename",
        )
    return NewAttachment(
        filename=filename,
        content_type=_content_type(request.content_type, filename, where),
        content_id=_content_id(request.content_id or request.inline_content_id, where),
        body=b"" if request.content is None else _body(request.content, where),
        remote=remote,
    )


def _remote(request: AttachmentRequest, where: str) -> RemoteBody | None:
    if not request.path:
        if request.content is None:
            raise InvalidAttachment(
                f"The `{where}` entry has neither `content` nor `path`.", field=f"{where}.content"
            )
        return None
    if request.content is not None:
        raise InvalidAttachment(
            f"The `{where}` entry has both `content` and `path`; send one of them.",
            field=f"{where}.path",
        )
    if len(request.path) > _MAX_URL_LENGTH or not _URL.fullmatch(request.path):
        raise InvalidAttachment(
            f"The `{where}.path` field is not an http or https URL of at most {_MAX_URL_LENGTH} "
            "characters, without spaces and without a login.",
            field=f"{where}.path",
        )
    return RemoteBody(request.path, is_type_open=request.content_type is None)


def _name_in_url(url: str) -> str:
    """The last segment of a URL's path as a file name, where it can be one."""
    path = re.split("[?#]", url, maxsplit=1)[0].partition("//")[2].partition("/")[2]
    segment = unquote(path).replace("\\", "/").rpartition("/")[2]
    # Not `.` or `..` either.
    return segment if segment.strip(".") and _is_usable_name(segment) else _FALLBACK_NAME


def _is_usable_name(filename: str) -> bool:
    return len(filename) <= _MAX_NAME_LENGTH and not FORBIDDEN_IN_HEADERS.search(filename)


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
        return _guessed_type(filename)
    content_type = _usable_type(given)
    if content_type is None:
        raise InvalidAttachment(
            f"The `{where}.content_type` field is not a media type such as `application/pdf`.",
            field=f"{where}.content_type",
        )
    return content_type


def _guessed_type(filename: str) -> str:
    guessed, encoding = mimetypes.guess_type(filename)
    # A name such as `data:x/y z,` makes the library read the type out of it, and the type of
    # `a.tar.gz` is that of the tar inside.
    if guessed is None or encoding is not None:
        return _FALLBACK_TYPE
    return _usable_type(guessed) or _FALLBACK_TYPE


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
