"""Whose manners a route has: those of Resend's contract, or our own.

A route is ours by its `opt`: `opt = {STYLE_KEY: Style.OURS}` on its controller. It decides about
errors and about the headers of the rate limit.
"""

import enum
from typing import Any, Final, cast

from tallypost_telemetry.asgi import Scope

STYLE_KEY: Final = "style"


class Style(enum.StrEnum):
    """How a route answers where it does not say anything of its own."""

    RESEND = "resend"
    """As the original does: its clients read the errors and `ratelimit-*`."""
    OURS = "ours"
    """By the standards: `application/problem+json`, `RateLimit` and `RateLimit-Policy`."""


# Any: Litestar has no common type for the handlers of the three kinds of routes.
def style_of_handler(handler: Any) -> Style:
    """The style that a handler, or its controller, names; Resend's where none is named."""
    return Style(handler.opt.get(STYLE_KEY, Style.RESEND))


def style_of(scope: object) -> Style:
    """The style of a request with this ASGI scope.

    Where no handler was chosen, because the route does not take the method, the path decides. A
    path that is no route's is answered in Resend's style.
    """
    known = cast(Scope, scope)
    handler = known.get("route_handler")
    if handler is not None and STYLE_KEY in handler.opt:
        return style_of_handler(handler)
    app = known.get("litestar_app")
    # A route that is called directly has no app, and is Resend's.
    for route in app.routes if app is not None else ():
        handlers = getattr(route, "route_handlers", ())
        is_ours = any(style_of_handler(handler) is Style.OURS for handler in handlers)
        if is_ours and _matches(route.path_format, known["path"]):
            return Style.OURS
    return Style.RESEND


def _matches(template: str, path: str) -> bool:
    # As the framework reads paths: a part that is empty is none, so it is no id either.
    wanted, given = _parts(template), _parts(path)
    return len(wanted) == len(given) and all(
        part == word or part.startswith("{") for part, word in zip(wanted, given, strict=True)
    )


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
