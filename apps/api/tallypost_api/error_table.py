"""How each error answers on the routes of Resend's API: its status, its name, what to do.

One row for each error class. The clients choose their exception by (status, name), so both are
part of the contract; `docs/errors.md` is made from these rows.
"""

from typing import Final

from msgspec import Struct

from tallypost_api import errors as api
from tallypost_core.errors import AppError, ErrorKind
from tallypost_core.object_store import ObjectStoreUnavailable
from tallypost_domain.api_keys import errors as api_keys
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.emails import errors as emails
from tallypost_domain.usage import errors as usage


class ErrorRow(Struct, frozen=True):
    """What one error class becomes."""

    error: type[AppError]
    status: int
    name: str
    advice: str
    """What the caller can do, for the page about errors."""


_CORRECT_FIELD = "correct the field that `message` names"
_REPEAT = "wait as `retry-after` says, then repeat with the same idempotency key"

ROWS: Final[tuple[ErrorRow, ...]] = (
    ErrorRow(emails.InvalidIdempotencyKey, 400, "invalid_idempotency_key", "use another key"),
    ErrorRow(api.MalformedJSON, 400, "validation_error", "send JSON; `message` says where it ends"),
    ErrorRow(api.JSONTooDeep, 400, "validation_error", "send a flatter body"),
    ErrorRow(api.JSONTooIntricate, 400, "validation_error", "send a simpler body"),
    ErrorRow(api.MalformedRequest, 400, "validation_error", "send well-formed HTTP"),
    ErrorRow(api.MissingAPIKey, 401, "missing_api_key", "send the key"),
    ErrorRow(api.RestrictedAPIKey, 401, "restricted_api_key", "use a key with full access"),
    ErrorRow(api_keys.InvalidAPIKey, 403, "invalid_api_key", "check the key"),
    ErrorRow(api_keys.TenantSuspended, 403, "validation_error", "ask the operator"),
    ErrorRow(emails.DomainNotVerified, 403, "validation_error", "send from a verified domain"),
    ErrorRow(emails.EmailNotFound, 404, "not_found", "check the id, and the mode of the key"),
    ErrorRow(api.RouteNotFound, 404, "not_found", "check the path"),
    ErrorRow(api.MethodNotAllowed, 405, "method_not_allowed", "use a method that `allow` names"),
    ErrorRow(api.RequestTimeout, 408, "validation_error", "repeat on a faster connection"),
    ErrorRow(
        emails.IdempotencyConflict,
        409,
        "invalid_idempotent_request",
        "use a new key for a new body",
    ),
    ErrorRow(
        emails.ConcurrentIdempotentRequest,
        409,
        "concurrent_idempotent_requests",
        "repeat a little later",
    ),
    ErrorRow(api.RequestTooLarge, 413, "validation_error", "send less at once"),
    ErrorRow(emails.EmailTooLarge, 413, "validation_error", "send smaller or fewer attachments"),
    ErrorRow(api.UnsupportedEncoding, 415, "validation_error", "send the body uncompressed"),
    ErrorRow(emails.MissingField, 422, "missing_required_field", "add the field"),
    ErrorRow(emails.InvalidFromAddress, 422, "invalid_from_address", "correct `from`"),
    ErrorRow(emails.InvalidAttachment, 422, "invalid_attachment", _CORRECT_FIELD),
    ErrorRow(api.InvalidParameter, 422, "invalid_parameter", "correct what `message` names"),
    ErrorRow(api.WrongType, 422, "validation_error", _CORRECT_FIELD),
    ErrorRow(emails.InvalidField, 422, "validation_error", _CORRECT_FIELD),
    ErrorRow(emails.FieldNotSupported, 422, "validation_error", "leave the field out"),
    ErrorRow(emails.EmailNotScheduled, 422, "validation_error", "nothing: it is too late"),
    ErrorRow(
        api.RateLimitExceeded, 429, "rate_limit_exceeded", "wait as `retry-after` says, then repeat"
    ),
    ErrorRow(
        usage.QuotaExceeded,
        429,
        "monthly_quota_exceeded",
        "wait for the next month, or ask the operator for a larger quota",
    ),
    ErrorRow(
        api.InternalError,
        500,
        "internal_server_error",
        "repeat with the same idempotency key; report the request id",
    ),
    ErrorRow(api.ServiceUnavailable, 503, "application_error", _REPEAT),
    ErrorRow(emails.AcceptOverloaded, 503, "application_error", _REPEAT),
    ErrorRow(DatabaseUnavailable, 503, "application_error", _REPEAT),
    ErrorRow(ObjectStoreUnavailable, 503, "application_error", _REPEAT),
)

_BY_CODE: Final = {row.error.code: row for row in ROWS}
INTERNAL: Final = _BY_CODE[api.InternalError.code]


def find_row(error: AppError) -> ErrorRow:
    """The row of an error; one that has none is a mistake of ours, unless it is an outage."""
    row = _BY_CODE.get(error.code)
    if row is None and error.kind is ErrorKind.UNAVAILABLE:
        return _BY_CODE[api.ServiceUnavailable.code]
    return row or INTERNAL
