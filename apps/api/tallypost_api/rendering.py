"""Turns whatever was raised into an answer: the one place that does."""

import math
from typing import Any

import structlog
from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from msgspec import Struct

from tallypost_api.error_table import INTERNAL, find_row
from tallypost_api.errors import (
    InternalError,
    InvalidParameter,
    MalformedRequest,
    MethodNotAllowed,
    RouteNotFound,
)
from tallypost_api.request_context import request_context
from tallypost_core.errors import AppError, ErrorKind

log = structlog.get_logger()


class ErrorAnswer(Struct, frozen=True, rename="camel"):
    """The body of every error."""

    status_code: int
    """The same as the status of the answer."""
    name: str
    message: str


def render_error(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorAnswer]:
    """The answer to a request that raised error; logs what an operator has to know."""
    known = translate(error)
    row = find_row(known)
    message = _message(known)
    if row is INTERNAL:
        log.error("request.failed", exc_info=error)
        # What went wrong is nobody's business but ours; the id leads us to it.
        message = f"{InternalError().message} Request id: {request_context(request.scope).id}"
    elif known.kind is ErrorKind.UNAVAILABLE:
        log.warning("request.unavailable", code=known.code)
    return Response(
        ErrorAnswer(row.status, row.name, message),
        status_code=row.status,
        headers=_headers(known, error),
        media_type=MediaType.JSON,
    )


def translate(error: Exception) -> AppError:
    """The AppError that says what error means to the caller."""
    if isinstance(error, AppError):
        return error
    if isinstance(error, NotFoundException):
        return RouteNotFound()
    if isinstance(error, MethodNotAllowedException):
        return MethodNotAllowed()
    if isinstance(error, ValidationException):
        return _invalid_parameter(error)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return MalformedRequest()
    return InternalError()


def _invalid_parameter(error: ValidationException) -> InvalidParameter:
    # One entry for each wrong parameter: {"key": "limit", "message": "Expected `int` <= 100"}.
    problem = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    name, reason = problem.get("key"), problem.get("message", "")
    if not name:
        return InvalidParameter()
    reason = reason[:1].lower() + reason[1:]
    return InvalidParameter(f"The `{name}` parameter is wrong: {reason}.", field=name)


def _message(error: AppError) -> str:
    if error.field is None or f"`{error.field}`" in error.message:
        return error.message
    return f"`{error.field}`: {error.message}"


def _headers(known: AppError, error: Exception) -> dict[str, str]:
    if isinstance(error, MethodNotAllowedException):
        allowed = (error.headers or {}).get("allow", "").split(", ")
        return {"allow": ", ".join(method for method in allowed if method != "OPTIONS")}
    if known.retry_after_s is not None:
        return {"retry-after": str(max(1, math.ceil(known.retry_after_s)))}
    return {}
