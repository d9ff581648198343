"""Errors of our own routes as RFC 9457 has them."""

from typing import Final

import msgspec
from litestar import Response
from msgspec import UNSET, Struct, UnsetType

from tallypost_api.problem_table import INTERNAL, ProblemRow
from tallypost_core.errors import AppError

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

ERRORS_PATH: Final = "/errors.md"
"""Where the API shows the page about errors; a problem's type is a heading of it."""


class Problem(Struct, frozen=True, kw_only=True):
    """The body of every error of our own routes."""

    type: str
    """A relative reference to what is known about errors of this code."""
    title: str
    """Of the type; the same each time."""
    status: int
    """The same as the status of the answer."""
    code: str
    """What to decide by."""
    detail: str | UnsetType = UNSET
    """What is wrong this time, for people."""
    field: str | UnsetType = UNSET
    """The field or parameter that is to blame."""
    request_id: str
    """Leads an operator to what happened."""


def problem_of(row: ProblemRow, error: AppError, request_id: str) -> Problem:
    """An error as its caller sees it; of a mistake of ours nothing but the id."""
    is_ours = row is INTERNAL
    code = row.error.code
    return Problem(
        type=f"{ERRORS_PATH}#{code}",
        title=row.title,
        status=row.status,
        code=code,
        detail=UNSET if is_ours else error.message,
        field=UNSET if is_ours or error.field is None else error.field,
        request_id=request_id,
    )


def problem_response(problem: Problem, headers: dict[str, str]) -> Response[bytes]:
    """The answer with a problem."""
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        headers=headers,
        media_type=PROBLEM_MEDIA_TYPE,
    )
