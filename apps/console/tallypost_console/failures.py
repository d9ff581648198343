"""Turns whatever was raised into a page: the one place that does."""

import math
from typing import Any, Final
from urllib.parse import urlencode

import structlog
from litestar import Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.response import Redirect
from msgspec import Struct

from tallypost_console.edge import request_id
from tallypost_console.errors import ForeignForm, NoTenantOpen, PageNotFound
from tallypost_console.own_path import own_path_of
from tallypost_console.rendering import (
    AnyRequest,
    is_partial,
    path_with_query,
    render,
    render_block,
)
from tallypost_console.visitors import remembered_visitor
from tallypost_core.errors import HTTP_STATUS, AppError, ErrorKind

log = structlog.get_logger()

_TITLES: Final = {
    ErrorKind.INVALID: "This request cannot be read",
    ErrorKind.FORBIDDEN: "Not allowed",
    ErrorKind.NOT_FOUND: "Nothing is here",
    ErrorKind.CONFLICT: "This cannot be done now",
    ErrorKind.PAYMENT_REQUIRED: "Payment is due",
    ErrorKind.RATE_LIMITED: "Too many requests",
    ErrorKind.UNAVAILABLE: "Not available right now",
}
_NOT_READ: Final = "The address or the form behind it has a value that makes no sense here."
# What htmx does with the answer, whatever the form says.
_APART: Final = {"hx-retarget": "#problem", "hx-reswap": "innerHTML"}


class Problem(Struct, frozen=True):
    """What a page about an error says, and the one thing to do next."""

    status: int
    title: str
    text: str
    action: str = "start"
    """`start`, `again` or `sign_out`."""


# Any: the type of the body, which is a template's or a redirect's.
def show_failure(request: AnyRequest, error: Exception) -> Response[Any]:
    """The answer to a request that raised error; logs what an operator has to know."""
    if isinstance(error, NoTenantOpen) and _is_operator(request):
        return _redirect(request, "/tenants", error)
    if isinstance(error, AppError) and error.kind is ErrorKind.UNAUTHENTICATED:
        return _redirect(request, _sign_in_path(_find_reader_place(request)), error)
    problem = describe(error)
    if problem.status == 500:
        log.error("request.failed", exc_info=error)
    elif problem.status == 503:
        log.warning("request.unavailable", error=type(error).__name__)
    # The rest of the page is fine. A card takes the place of the part that was asked for; of a
    # form that failed it leaves that part as it is, and the form to be sent again.
    is_apart = is_partial(request) and request.method != "GET"
    shown = {
        "problem": problem,
        "again": _find_place(request),
        "is_apart": is_apart,
        "request_id": request_id(request.scope) if problem.status == 500 else None,
    }
    if is_partial(request):
        card = render_block("problem.html", "card", visitor=remembered_visitor(request), **shown)
        return Response(
            card,
            media_type=MediaType.HTML,
            status_code=problem.status,
            headers={**_headers(error), **(_APART if is_apart else {})},
        )
    # Nobody who changes the theme here wants to come back here.
    return render(
        request,
        "problem.html",
        status_code=problem.status,
        headers=_headers(error),
        address="/",
        **shown,
    )


def describe(error: Exception) -> Problem:
    """What to tell about an error; of an unexpected one, nothing."""
    if isinstance(error, NotFoundException):
        error = PageNotFound()
    if isinstance(error, AppError):
        return Problem(
            HTTP_STATUS[error.kind], _TITLES[error.kind], error.message, _find_action(error)
        )
    if isinstance(error, MethodNotAllowedException):
        return Problem(405, "Nothing is here", "This address is not used that way.")
    if isinstance(error, HTTPException) and error.status_code < 500:
        return Problem(error.status_code, _TITLES[ErrorKind.INVALID], _NOT_READ)
    return Problem(500, "Something went wrong", "The fault is ours. It is logged.", "again")


def _find_action(error: AppError) -> str:
    if error.kind in (ErrorKind.UNAVAILABLE, ErrorKind.CONFLICT):
        return "again"
    if error.kind is ErrorKind.FORBIDDEN and not isinstance(error, ForeignForm):
        return "sign_out"
    return "start"


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, MethodNotAllowedException):
        return {"allow": (error.headers or {}).get("allow", "GET")}
    if isinstance(error, AppError) and error.retry_after_s is not None:
        return {"retry-after": str(max(1, math.ceil(error.retry_after_s)))}
    return {}


def _is_operator(request: AnyRequest) -> bool:
    visitor = remembered_visitor(request)
    return visitor is not None and visitor.person.is_operator


# Any: a redirect has no body.
def _redirect(request: AnyRequest, path: str, error: AppError) -> Response[Any]:
    if is_partial(request):
        # htmx would follow a redirect and put the whole page into the element.
        return Response(b"", status_code=HTTP_STATUS[error.kind], headers={"hx-redirect": path})
    return Redirect(path, status_code=303)


def _find_reader_place(request: AnyRequest) -> str:
    """Where whoever reads is: what htmx fetches is a part of that page."""
    if is_partial(request) and request.method == "GET":
        return _find_open_page(request)
    return _find_place(request)


def _find_place(request: AnyRequest) -> str:
    """Where to go on: the page that was asked for, or the one on which the form stands.

    A form with a query in its address, which is a page too, goes on there.
    """
    own = path_with_query(request)
    if request.method == "GET" or (request.scope["query_string"] and _is_page(request, own)):
        return own
    return _find_open_page(request)


def _find_open_page(request: AnyRequest) -> str:
    headers = request.headers
    path = own_path_of(headers.get("hx-current-url", headers.get("referer", "")))
    return path if _is_page(request, path) else "/"


def _is_page(request: AnyRequest, path: str) -> bool:
    """False for what only takes forms, and has answered the one before this."""
    methods = request.app.route_handler_method_map.get(path.partition("?")[0])
    return methods is None or "GET" in methods


def _sign_in_path(wanted: str) -> str:
    return "/login" if wanted == "/" else f"/login?{urlencode({'then': wanted})}"
