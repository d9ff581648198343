"""How large the message of an email is for SES, without making all of it."""

from msgspec.structs import replace

from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.mime import HEAD_MAX_BYTES, write_message
from tallypost_providers.types import Attachment, OutgoingEmail

# Of a text, in base64 with line ends, where each character has four bytes in UTF-8.
_CHARACTER_MAX_BYTES = 6
# Of an attachment besides its body: fields and boundary, and what its names become at most.
_PART_BYTES = 1024
_NAME_CHARACTER_MAX_BYTES = 16
_LINE_CHARS = 76  # As `mime_parts` cuts base64.


def find_size_over(email: OutgoingEmail, limit_bytes: int) -> int | None:
    """The exact size of its unsigned message where that is more than limit_bytes, else None.

    None too for an email that can be no message. Texts are encoded only where the rough size
    leaves it open, attachments never: an email may be asked about at every account.
    """
    attached = sum(_base64_bytes(len(attachment.body)) for attachment in email.attachments)
    if attached + _most_bytes_besides(email) <= limit_bytes:
        return None
    bare = tuple(replace(attachment, body=b"") for attachment in email.attachments)
    try:
        written = write_message(replace(email, attachments=bare, dkim_keys=()))
    except EmailNotBuildable:
        return None
    size_bytes = attached + len(written.head) + sum(map(len, written.body))
    return size_bytes if size_bytes > limit_bytes else None


def _base64_bytes(size_bytes: int) -> int:
    characters = (size_bytes + 2) // 3 * 4
    lines = (characters + _LINE_CHARS - 1) // _LINE_CHARS
    return characters + lines * len("\r\n")


def _most_bytes_besides(email: OutgoingEmail) -> int:
    characters = len(email.html or "") + len(email.text or "")
    parts = sum(map(_most_part_bytes, email.attachments))
    return HEAD_MAX_BYTES + _PART_BYTES + characters * _CHARACTER_MAX_BYTES + parts


def _most_part_bytes(attachment: Attachment) -> int:
    names = attachment.filename + attachment.content_type + (attachment.content_id or "")
    return _PART_BYTES + len(names) * _NAME_CHARACTER_MAX_BYTES
