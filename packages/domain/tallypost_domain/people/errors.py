"""What can go wrong with people and their sessions."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class InvalidEmailAddress(AppError):
    """The e-mail address cannot be used; write `name@example.com`."""

    code: ClassVar[str] = "invalid_email_address"


class PasswordTooShort(AppError):
    """The password must have at least 12 characters."""

    code: ClassVar[str] = "password_too_short"


class PersonExists(AppError):
    """Somebody with this e-mail address exists already."""

    code: ClassVar[str] = "person_exists"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class InvalidCredentials(AppError):
    """The e-mail address or the password is wrong."""

    code: ClassVar[str] = "invalid_credentials"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAUTHENTICATED


class TooManySignIns(AppError):
    """Too many attempts to sign in; wait a few minutes."""

    code: ClassVar[str] = "too_many_sign_ins"
    kind: ClassVar[ErrorKind] = ErrorKind.RATE_LIMITED


class SessionEnded(AppError):
    """The session has ended; sign in again."""

    code: ClassVar[str] = "session_ended"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAUTHENTICATED


class TenantNotFound(AppError):
    """Tenant not found."""

    code: ClassVar[str] = "tenant_not_found"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class PermissionDenied(AppError):
    """Your role does not allow this; an owner of the tenant can change it."""

    code: ClassVar[str] = "permission_denied"
    kind: ClassVar[ErrorKind] = ErrorKind.FORBIDDEN
