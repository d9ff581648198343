"""Our HTTP edge without what it is for: decodes an email, checks a key, stores nothing.

The ceiling of accepting with this framework and this decoder in one process.
"""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from litestar import Litestar, Request, post
from litestar.exceptions import NotAuthorizedException
from litestar.types import Receive, Scope, Send

from bench.children import Children, listens
from tallypost_api.bodies import decode_email
from tallypost_api.rest.answers import EmailRef
from tallypost_cli.ports import find_free_port
from tallypost_core.crypto import parse_api_key
from tallypost_core.ids import new_id
from tallypost_telemetry import serving
from tallypost_telemetry.asgi import ASGIApp

_READY_WITHIN_S = 30.0


@contextmanager
def running(children: Children, token: str) -> Iterator[int]:
    """The endpoint in a process of its own; yields its port."""
    port = find_free_port()
    with children.running(
        "no-database", [sys.executable, "-m", "bench.anchors.no_database", str(port), token]
    ) as child:
        child.wait_until(
            lambda: listens(port),
            within_s=_READY_WITHIN_S,
            what="the endpoint without a database listens",
        )
        yield port


def create_app(token: str) -> ASGIApp:
    """POST /emails for the holder of one key."""
    known = {hashlib.sha256(token.encode()).digest()}

    @post("/emails", status_code=200)
    async def send(request: Request[Any, Any, Any]) -> EmailRef:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if parse_api_key(key) is None or hashlib.sha256(key.encode()).digest() not in known:
            raise NotAuthorizedException
        decode_email(await request.body())
        return EmailRef(new_id())

    routes = Litestar([send], openapi_config=None, logging_config=None)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await routes(scope, receive, send)

    return app  # type: ignore[return-value]  # Litestar types scopes more narrowly.


def main() -> None:
    """Serve on the port of the first argument for the key of the second."""
    serving.run(create_app(sys.argv[2]), "127.0.0.1", int(sys.argv[1]))


if __name__ == "__main__":
    main()
