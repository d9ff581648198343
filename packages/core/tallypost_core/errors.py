"""The error tree that every layer raises and every edge renders once.

An AppError carries a stable `code` and a `kind`; edges map the kind to a status. The first line
of a subclass's docstring is its default message. Messages never hold addresses, subjects,
tokens or bodies: they end up in logs.
"""

import enum
from typing import ClassVar


class ErrorKind(enum.StrEnum):
    """What went wrong, from the caller's point of view; each edge maps it to a status."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    PAYMENT_REQUIRED = "payment_required"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"


HTTP_STATUS: dict[ErrorKind, int] = {
    ErrorKind.INVALID: 422,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.PAYMENT_REQUIRED: 402,
    ErrorKind.RATE_LIMITED: 429,
    ErrorKind.UNAVAILABLE: 503,
}


class AppError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "app_error"
    kind: ClassVar[ErrorKind] = ErrorKind.INVALID

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """field names the offending request field, e.g. `attachments[2].content`."""
        self.message = message or first_line(type(self).__doc__)
        self.field = field
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


def first_line(docstring: str | None) -> str:
    """The first line of a docstring, which is an error's default message."""
    return (docstring or "").strip().splitlines()[0] if docstring else ""
