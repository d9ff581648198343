"""What can be wrong with an API key."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class InvalidAPIKey(AppError):
    """The API key is malformed, unknown or revoked."""

    code: ClassVar[str] = "invalid_api_key"
    kind: ClassVar[ErrorKind] = ErrorKind.FORBIDDEN


class APIKeyNotFound(AppError):
    """API key not found."""

    code: ClassVar[str] = "api_key_not_found"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class TenantSuspended(AppError):
    """The account is suspended; contact the operator of this service."""

    code: ClassVar[str] = "tenant_suspended"
    kind: ClassVar[ErrorKind] = ErrorKind.FORBIDDEN
