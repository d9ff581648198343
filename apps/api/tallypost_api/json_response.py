"""Answers in JSON, written straight to the server.

Litestar's own response looks up, merges and encodes headers one by one, which costs as much as all
checks of an email together (measured). None of our handlers sets headers: those that every answer
has are the edge's.
"""

from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.status_codes import HTTP_200_OK, HTTP_204_NO_CONTENT
from litestar.types import (
    ASGIApp,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    Receive,
    Scope,
    Send,
)

_CONTENT_TYPE: Final = (b"content-type", b"application/json")

_ENCODER: Final = msgspec.json.Encoder()


class JSONResponse(Response[Any]):
    """What a handler returned, encoded. For Litestar, as the `response_class` of an app."""

    # Any: Litestar passes what its own class takes; of that only these two differ here.
    def __init__(self, content: Any, *, status_code: int = HTTP_200_OK, **_: Any) -> None:
        self.content = content
        self.status_code = status_code

    def to_asgi_response(  # type: ignore[override]
        self, *_: Any, request: Request[Any, Any, Any], **__: Any
    ) -> ASGIApp:
        """The answer as Litestar calls it."""
        content, status = self.content, self.status_code or HTTP_200_OK

        async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send_json(send, content, status)

        return answer


async def send_json(send: Send, content: object, status: int = HTTP_200_OK) -> None:
    """Answer with an encoded object; one of status 204 has no content, and no body either."""
    is_empty = status == HTTP_204_NO_CONTENT
    body = b"" if is_empty else _ENCODER.encode(content)
    start: HTTPResponseStartEvent = {
        "type": "http.response.start",
        "status": status,
        "headers": [] if is_empty else [_CONTENT_TYPE, (b"content-length", b"%d" % len(body))],
    }
    rest: HTTPResponseBodyEvent = {"type": "http.response.body", "body": body, "more_body": False}
    await send(start)
    await send(rest)
