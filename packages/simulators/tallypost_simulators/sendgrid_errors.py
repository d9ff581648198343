"""SendGrid's errors, in the one form that its v3 API has for them, and a page of its nginx."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from aiohttp import web

_HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html"
_TOO_LARGE_PAGE = (
    b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n"
    b"<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)


class FieldError(NamedTuple):
    """One thing that is wrong with a request."""

    message: str
    field: str | None = None
    anchor: str | None = None
    """Where SendGrid's page on errors explains it."""


class Refusal(NamedTuple):
    """An answer other than success."""

    status: int
    errors: tuple[FieldError, ...]

    @property
    def body(self) -> bytes:
        """The answer's body, in JSON."""
        return json.dumps({"errors": [_as_json(error) for error in self.errors]}).encode()

    def respond(self) -> web.Response:
        """The answer as it goes on the wire."""
        return web.Response(status=self.status, body=self.body, content_type="application/json")


class SendGridError(Exception):
    """A request gets an answer other than success."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


def json_response(status: int, content: object) -> web.Response:
    """An answer in JSON."""
    body = json.dumps(content).encode()
    return web.Response(status=status, body=body, content_type="application/json")


def too_large_page() -> web.Response:
    """What the nginx before the API answers to a body over its limit."""
    return web.Response(status=413, body=_TOO_LARGE_PAGE, content_type="text/html")


def bad_request(errors: Sequence[FieldError]) -> SendGridError:
    """Everything that is wrong with a request, as SendGrid tells it at once."""
    return SendGridError(Refusal(400, tuple(errors)))


# The words of the API's description and of live answers that people have published.
REVOKED = Refusal(
    401, (FieldError("The provided authorization grant is invalid, expired, or revoked"),)
)
UNAUTHENTICATED = Refusal(401, (FieldError("authorization required"),))
NO_CREDITS = Refusal(401, (FieldError("Maximum credits exceeded"),))
FORBIDDEN = Refusal(403, (FieldError("access forbidden"),))
UNVERIFIED = Refusal(
    403,
    (
        FieldError(
            "The from address does not match a verified Sender Identity. Mail cannot be sent until "
            "this error is resolved.",
            "from",
        ),
    ),
)
NOT_FOUND = Refusal(404, (FieldError("not found"),))
METHOD_NOT_ALLOWED = Refusal(405, (FieldError("method not allowed"),))
MEDIA_TYPE = Refusal(415, (FieldError("Content-Type should be application/json."),))
TOO_MANY = Refusal(429, (FieldError("too many requests"),))
UNAVAILABLE = Refusal(503, (FieldError("service unavailable"),))


def _as_json(error: FieldError) -> dict[str, str | None]:
    help_ = f"{_HELP}#{error.anchor}" if error.anchor else None
    return {"message": error.message, "field": error.field, "help": help_}
