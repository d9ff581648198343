"""What can be wrong with an API key."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class InvalidAPIKey(AppError):
    """The API key is malformed, unknown or revoked."""

    code: ClassVar[str] = "invalid_api_key"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAUTHENTICATED


class APIKeyNotFound(AppError):
    """API key not found."""

    code: ClassVar[str] = "api_key_not_found"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class TenantSuspended(AppError):
    """The account is suspended; contact the operator of this service."""

    code: ClassVar[str] = "tenant_suspended"
    kind: ClassVar[ErrorKind] = ErrorKind.FORBIDDEN


class InvalidKeyName(AppError):
    """The name of an API key must have 1 to 100 characters that can be seen."""

    code: ClassVar[str] = "invalid_api_key_name"


class UnknownStream(AppError):
    """There is no stream of this name."""

    code: ClassVar[str] = "unknown_stream"


class TooManyAPIKeys(AppError):
    """There are 500 working API keys already; revoke some that nobody uses."""

    code: ClassVar[str] = "too_many_api_keys"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT
