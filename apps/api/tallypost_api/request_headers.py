"""Headers that a route reads by itself.

As parameters of its handler they would be Litestar's, which makes an object of all headers for each
request first: about a tenth of what sending an email costs in this process (measured).
"""

from typing import Any, Final, cast

from litestar import Request
from msgspec import Struct

from tallypost_telemetry.asgi import Scope

HEADERS_KEY: Final = "headers"
"""Names, in a handler's `opt`, the headers that it reads, for the description of the API."""


class RequestHeader(Struct, frozen=True):
    """A header of requests, and what it is for."""

    name: str
    description: str
    default: str | None = None

    def read(self, request: Request[Any, Any, Any]) -> str | None:
        """Its value in a request, the first where there are several; else its default."""
        value = find_header(request.scope, self.name.lower().encode())
        return self.default if value is None else value


def find_header(scope: object, name: bytes) -> str | None:
    """The value of a header, the first of that name; name is in lower case."""
    # Litestar's scope is a TypedDict, ours a mapping of anything.
    for known, value in cast(Scope, scope)["headers"]:
        if known == name:
            return cast(bytes, value).decode("latin-1")
    return None
