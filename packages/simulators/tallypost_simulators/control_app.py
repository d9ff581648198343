"""A few JSON endpoints behind a bearer token: how somebody on this machine turns knobs.

Every answer is JSON. A body has to fit the endpoint's Struct; where it does not, 422 names the
field and says what it takes.
"""

import hmac
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from tallypost_core.settings.loader import split_hint
from tallypost_telemetry.asgi import Receive, Scope, Send

_MAX_BODY_BYTES = 16_384
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")
_PLACE = re.compile(r" - at `\$\.(\w+)")


class ControlRefused(Exception):
    """What was asked cannot be done now; the text tells a person why."""


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an endpoint that needs none."""


class Problem(Struct, frozen=True, omit_defaults=True):
    """Why a request was not carried out; field is the one to mend."""

    error: str
    message: str
    field: str = ""


class Endpoint(Struct, frozen=True):
    """What one method and path does. A body's fields say what they take in their description."""

    # Any: each endpoint takes a Struct of its own.
    act: Callable[[Any], Awaitable[Struct]]
    body: type[Struct] = Nothing


class ControlApp:
    """An ASGI app; endpoints are by method and path."""

    def __init__(self, token: str, endpoints: Mapping[tuple[str, str], Endpoint]) -> None:
        self._authorization = f"Bearer {token}".encode()
        self._endpoints = dict(endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
            return
        status, answer = await self._answer(scope, receive)
        body = msgspec.json.encode(answer)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, Struct]:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if not hmac.compare_digest(given, self._authorization):
            return 401, Problem("unauthorized", "Send the token as Authorization: Bearer.")
        endpoint = self._endpoints.get((scope["method"], scope["path"]))
        if endpoint is None:
            known = ", ".join(" ".join(key) for key in self._endpoints)
            return 404, Problem("not_found", f"There are: {known}.")
        body = await _read_body(receive)
        if body is None:
            return 413, Problem("too_large", f"Send at most {_MAX_BODY_BYTES} bytes.")
        try:
            command = msgspec.json.decode(body or b"{}", type=endpoint.body)
        except msgspec.ValidationError as error:
            return 422, _describe(error, endpoint.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return 400, Problem("malformed", "The body is not JSON.")
        try:
            return 200, await endpoint.act(command)
        except ControlRefused as refusal:
            return 409, Problem("refused", str(refusal))


async def _read_body(receive: Receive) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _MAX_BODY_BYTES:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _describe(error: msgspec.ValidationError, body: type[Struct]) -> Problem:
    text = str(error)
    hints = typing.get_type_hints(body, include_extras=True)
    if found := _UNKNOWN.search(text):
        fields = ", ".join(hints) or "none"
        return Problem("invalid", f"{found[1]} is not a field; the fields are: {fields}.", found[1])
    if not (found := _MISSING.search(text) or _PLACE.search(text)):
        return Problem("invalid", f"{text}.")
    wanted = _find_description(hints[found[1]])
    return Problem("invalid", f"{found[1]} has to be {wanted or text}.", found[1])


# Any: a hint may be whatever a Struct takes.
def _find_description(hint: Any) -> str | None:
    """What a field's Meta says, also where it may be left out and so is one of a union."""
    metas = (split_hint(part)[1] for part in (hint, *typing.get_args(hint)))
    return next((meta.description for meta in metas if meta and meta.description), None)


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
