"""Reads by our own routes: what GET answers HEAD answers too, and no parameter is ignored."""

from collections.abc import Callable
from typing import Any, Final

from litestar import HttpMethod, route
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.types import AnyCallable

from tallypost_api.errors import InvalidParameter
from tallypost_api.style import Style, style_of_handler

_MAX_NAME_CHARS: Final = 100


# Any: Litestar types what goes into `opt` so.
def get(
    path: str | None = None, *, opt: dict[str, Any]
) -> Callable[[AnyCallable], HTTPRouteHandler]:
    """Mark a handler that reads. RFC 9110, section 9.1: a server that has GET has HEAD."""
    # The server leaves out the body of an answer to HEAD, and keeps its length.
    return route(path, http_method=[HttpMethod.GET, HttpMethod.HEAD], opt=opt)


# Any: Litestar leaves users and their tokens open.
def require_known_query(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Raise InvalidParameter where a route of our own does not know a parameter, or has it twice.

    As a guard of all routes; those of Resend's API ignore what they do not know.
    """
    if not connection.scope["query_string"] or style_of_handler(handler) is not Style.OURS:
        return
    known = [
        name
        for name, parameter in handler.parsed_fn_signature.parameters.items()
        if isinstance(parameter.kwarg_definition, QueryParameter)
    ]
    seen: set[str] = set()
    for given, _ in connection.query_params.multi_items():
        name = given[:_MAX_NAME_CHARS]
        if given not in known:
            those = " and ".join(f"`{one}`" for one in known) or "none"
            raise InvalidParameter(
                f"There is no parameter `{name}`; this route has {those}.", field=name
            )
        if given in seen:
            raise InvalidParameter(f"The `{name}` parameter is there more than once.", field=name)
        seen.add(given)
