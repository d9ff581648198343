"""Signing in and out."""

import math
from typing import Any

import structlog
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect

from tallypost_console.access import OPT_KEY, Everyone
from tallypost_console.forms import read_form
from tallypost_console.own_path import own_path
from tallypost_console.rendering import AnyRequest, render
from tallypost_console.services import Services
from tallypost_console.visitors import Visitor, client_address, find_visitor
from tallypost_core.errors import HTTP_STATUS, AppError
from tallypost_domain.people import service as people
from tallypost_domain.people.errors import InvalidCredentials, TooManySignIns

log = structlog.get_logger()


# Any, here and below: the type of the body, which is a template's or a redirect's.
@get("/login", opt={OPT_KEY: Everyone.PUBLIC})
async def show_sign_in(request: AnyRequest, then: FromQuery[str] = "/") -> Response[Any]:
    """The form; whoever is signed in goes on to `then`."""
    if await find_visitor(request) is not None:
        return Redirect(own_path(then), status_code=303)
    return _show_form(request, then=own_path(then))


@post("/login", opt={OPT_KEY: Everyone.PUBLIC}, status_code=200)
async def sign_in(request: AnyRequest, services: NamedDependency[Services]) -> Response[Any]:
    """Begin a new session in place of the browser's old one, or show the form again."""
    form = await read_form(request)
    email, password, then = form.require("email"), form.require("password"), form.find("then")
    address = client_address(request)
    try:
        await services.throttle.require_attempt(email, address)
        token = await people.sign_in(
            services.sessions, email=email, password=password, peppers=services.peppers
        )
    except (InvalidCredentials, TooManySignIns) as error:
        log.info("sign_in.refused", reason=error.code)
        return _show_form(request, then=own_path(then), email=email, error=error)
    services.throttle.record_success(email, address)
    await _end_session(services, request.cookies.get(services.cookie.name))
    return Redirect(own_path(then), status_code=303, cookies=[services.cookie.holding(token)])


@post("/logout", opt={OPT_KEY: Everyone.SIGNED_IN}, status_code=303)
async def sign_out(
    services: NamedDependency[Services], visitor: NamedDependency[Visitor]
) -> Redirect:
    """End the session."""
    await _end_session(services, visitor.token)
    return Redirect("/login", status_code=303, cookies=[services.cookie.cleared()])


async def _end_session(services: Services, token: str | None) -> None:
    if token:
        await people.sign_out(services.sessions, token, services.peppers)


def _show_form(
    request: AnyRequest, *, then: str, email: str = "", error: AppError | None = None
) -> Response[Any]:
    headers = {}
    if error is not None and error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    return render(
        request,
        "login.html",
        status_code=200 if error is None else HTTP_STATUS[error.kind],
        headers=headers,
        then=then,
        email=email,
        error=error,
    )
