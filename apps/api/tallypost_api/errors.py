"""What can be wrong with a request before it reaches the domain."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class MissingAPIKey(AppError):
    """Missing API key: send the header `Authorization: Bearer <key>`."""

    code: ClassVar[str] = "missing_api_key"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAUTHENTICATED


class RestrictedAPIKey(AppError):
    """This API key may only send emails."""

    code: ClassVar[str] = "restricted_api_key"
    kind: ClassVar[ErrorKind] = ErrorKind.FORBIDDEN


class LiveKeyRequired(AppError):
    """Only a live API key may change what live mail goes by."""

    code: ClassVar[str] = "live_key_required"
    kind: ClassVar[ErrorKind] = ErrorKind.FORBIDDEN


class RateLimitExceeded(AppError):
    """Too many requests; the `ratelimit-*` headers tell how many are allowed."""

    code: ClassVar[str] = "rate_limit_exceeded"
    kind: ClassVar[ErrorKind] = ErrorKind.RATE_LIMITED


class MalformedJSON(AppError):
    """The request body is not JSON."""

    code: ClassVar[str] = "malformed_json"


class JSONTooDeep(AppError):
    """The request body is nested deeper than 32 levels."""

    code: ClassVar[str] = "json_too_deep"


class JSONTooIntricate(AppError):
    """The request body holds more than 250,000 strings, or more than 250,000 lists and objects."""

    code: ClassVar[str] = "json_too_intricate"


class WrongType(AppError):
    """A field has a value of the wrong type."""

    code: ClassVar[str] = "wrong_type"


class UnknownField(AppError):
    """The request body has a field that is not known here."""

    code: ClassVar[str] = "unknown_field"


class InvalidParameter(AppError):
    """A query parameter or a header has a value that cannot be used."""

    code: ClassVar[str] = "invalid_parameter"


class RequestTooLarge(AppError):
    """The request body is larger than 40 MB."""

    code: ClassVar[str] = "request_too_large"


class RequestTimeout(AppError):
    """The request body did not arrive within 30 seconds."""

    code: ClassVar[str] = "request_timeout"


class UnsupportedEncoding(AppError):
    """The request body is compressed; send it without `content-encoding`."""

    code: ClassVar[str] = "unsupported_encoding"


class MalformedRequest(AppError):
    """The request is malformed."""

    code: ClassVar[str] = "malformed_request"


class RouteNotFound(AppError):
    """There is no such route."""

    code: ClassVar[str] = "route_not_found"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class MethodNotAllowed(AppError):
    """This route does not take this method; the `allow` header names those that it takes."""

    code: ClassVar[str] = "method_not_allowed"


class ServiceUnavailable(AppError):
    """The service cannot do this now; repeat the request in a moment."""

    code: ClassVar[str] = "service_unavailable"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE


class InternalError(AppError):
    """Something went wrong on our side."""

    code: ClassVar[str] = "internal_error"
