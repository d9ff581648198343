"""What can be wrong with a request about emails."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class MissingField(AppError):
    """A required field is missing."""

    code: ClassVar[str] = "missing_required_field"


class InvalidField(AppError):
    """A field has a value that cannot be used."""

    code: ClassVar[str] = "validation_error"


class InvalidFromAddress(AppError):
    """The `from` field is not a mailbox; write `a@example.com` or `Name <a@example.com>`."""

    code: ClassVar[str] = "invalid_from_address"


class InvalidAttachment(AppError):
    """An attachment cannot be used."""

    code: ClassVar[str] = "invalid_attachment"


class FieldNotSupported(AppError):
    """The field is known, but not supported yet."""

    code: ClassVar[str] = "field_not_supported"


class EmailTooLarge(AppError):
    """The email is larger than 40 MB with its attachments."""

    code: ClassVar[str] = "email_too_large"


class DomainNotVerified(AppError):
    """The domain of `from` is not verified; add and verify it first."""

    code: ClassVar[str] = "domain_not_verified"
    kind: ClassVar[ErrorKind] = ErrorKind.FORBIDDEN


class InvalidIdempotencyKey(AppError):
    """The idempotency key must have 1 to 256 characters."""

    code: ClassVar[str] = "invalid_idempotency_key"


class IdempotencyConflict(AppError):
    """The idempotency key was used before with another request body."""

    code: ClassVar[str] = "invalid_idempotent_request"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class ConcurrentIdempotentRequest(AppError):
    """A request with this idempotency key is still in progress; repeat it in a moment."""

    code: ClassVar[str] = "concurrent_idempotent_requests"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class AcceptOverloaded(AppError):
    """More emails arrive than can be stored now; repeat the request in a moment."""

    code: ClassVar[str] = "accept_overloaded"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE


class EmailNotFound(AppError):
    """Email not found."""

    code: ClassVar[str] = "not_found"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class AttachmentNotFound(AppError):
    """Attachment not found."""

    code: ClassVar[str] = "attachment_not_found"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class AttachmentGone(AppError):
    """An attachment of the email is not in the object store any more."""

    code: ClassVar[str] = "attachment_gone"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class EmailNotScheduled(AppError):
    """The email is not waiting for its scheduled time any more."""

    code: ClassVar[str] = "email_not_scheduled"


class InvalidSearch(AppError):
    """The search cannot be read."""

    code: ClassVar[str] = "invalid_search"
