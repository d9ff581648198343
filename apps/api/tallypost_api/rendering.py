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
from tallypost_api.problem_table import INTERNAL as PROBLEM_INTERNAL
from tallypost_api.problem_table import find_problem_row
from tallypost_api.problems import problem_of, problem_response
from tallypost_api.request_context import request_context
from tallypost_api.style import Style, style_of
from tallypost_core.errors import AppError, ErrorKind

_UNAVAILABLE_RETRY_AFTER = "1"

log = structlog.get_logger()


class ErrorAnswer(Struct, frozen=True, rename="camel"):
    """The body of every error."""

    status_code: int
    """The same as the status of the answer."""
    name: str
    message: str


def render_error(
    request: Request[Any, Any, Any], error: Exception
) -> Response[ErrorAnswer] | Response[bytes]:
    """The answer to a request that raised error; logs what an operator has to know."""
    known = translate(error)
    request_id = request_context(request.scope).id
    # A path that no route has is nobody's, however much it looks like one of ours.
    if not isinstance(known, RouteNotFound) and style_of(request.scope) is Style.OURS:
        row = find_problem_row(known)
        _log(known, error, is_internal=row is PROBLEM_INTERNAL)
        problem = problem_of(row, known, request_id)
        return problem_response(problem, _own_headers(known, error, row.status))
    return _contract_response(known, error, request_id)


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


def _contract_response(known: AppError, error: Exception, request_id: str) -> Response[ErrorAnswer]:
    """As the clients of Resend's API read it."""
    row = find_row(known)
    _log(known, error, is_internal=row is INTERNAL)
    message = _message(known)
    if row is INTERNAL:
        # What went wrong is nobody's business but ours; the id leads us to it.
        message = f"{InternalError().message} Request id: {request_id}"
    return Response(
        ErrorAnswer(row.status, row.name, message),
        status_code=row.status,
        headers=_headers(known, error),
        media_type=MediaType.JSON,
    )


def _log(known: AppError, error: Exception, *, is_internal: bool) -> None:
    if is_internal:
        log.error("request.failed", exc_info=error)
    elif known.kind is ErrorKind.UNAVAILABLE:
        log.warning("request.unavailable", code=known.code)


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
        return {"allow": ", ".join(sorted(method for method in allowed if method != "OPTIONS"))}
    if known.retry_after_s is not None:
        return {"retry-after": str(max(1, math.ceil(known.retry_after_s)))}
    return {}


def _own_headers(known: AppError, error: Exception, status: int) -> dict[str, str]:
    headers = _headers(known, error)
    if status == 401:
        # RFC 9110, section 15.5.2: the answer has to name a scheme.
        headers["www-authenticate"] = "Bearer"
    if status == 503:
        headers.setdefault("retry-after", _UNAVAILABLE_RETRY_AFTER)
    return headers
