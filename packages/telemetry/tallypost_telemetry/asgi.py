"""The types of ASGI, for apps that need no framework."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

# Any: the specification leaves the values open.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
