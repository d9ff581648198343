"""What the edge knows about one request, from its first byte to the end of its answer."""

from typing import Final, cast

from tallypost_api.caller import Caller
from tallypost_api.errors import ServiceUnavailable
from tallypost_telemetry.asgi import Scope

_KEY: Final = "tallypost_request"


class BodyBudget:
    """Bounds the bytes of all request bodies that the process holds at one time.

    Without it a few clients with slow, large requests could use up the memory of everybody.
    """

    def __init__(self, max_bytes: int) -> None:
        self._free_bytes = max_bytes

    def reserve(self, size_bytes: int) -> None:
        """Take size_bytes, or raise ServiceUnavailable and take nothing."""
        if size_bytes > self._free_bytes:
            raise ServiceUnavailable(retry_after_s=1)
        self._free_bytes -= size_bytes

    def release(self, size_bytes: int) -> None:
        """Give size_bytes back."""
        self._free_bytes += size_bytes


class RequestContext:
    """One request: its id, its answer's extra headers, who asks, and how much memory it holds."""

    __slots__ = ("_budget", "_reserved_bytes", "caller", "headers", "id")

    def __init__(self, id_: str, budget: BodyBudget) -> None:
        self.id = id_
        self.headers: list[tuple[bytes, bytes]] = [(b"x-request-id", id_.encode())]
        """Headers that the answer gets, whoever writes it."""
        self.caller: Caller | None = None
        """Who asks; None until the key is known, and on public routes."""
        self._budget = budget
        self._reserved_bytes = 0

    def hold(self, size_bytes: int) -> None:
        """Count size_bytes of body as held by this request until it ends.

        Raises ServiceUnavailable where the process holds too much already.
        """
        self._budget.reserve(size_bytes)
        self._reserved_bytes += size_bytes

    def release(self) -> None:
        """Give back all that is held."""
        self._budget.release(self._reserved_bytes)
        self._reserved_bytes = 0


def attach(scope: Scope, context: RequestContext) -> None:
    """Let `request_context` find context in this scope."""
    scope[_KEY] = context


def request_context(scope: object) -> RequestContext:
    """The context of the request with this ASGI scope."""
    # Litestar's scope is a TypedDict, which has no room for keys of ours.
    return cast(RequestContext, cast(Scope, scope)[_KEY])


def get_caller(scope: object) -> Caller:
    """Who asks; for routes that are not public."""
    caller = request_context(scope).caller
    if caller is None:
        raise RuntimeError("a public route asks for its caller")
    return caller
