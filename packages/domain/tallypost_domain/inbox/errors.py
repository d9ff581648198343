"""What can go wrong with messages of the Inbox."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class MessageNotFound(AppError):
    """Message not found."""

    code: ClassVar[str] = "message_not_found"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class MalformedHeaders(ValueError):
    """The header block of a message cannot be read without guessing."""
