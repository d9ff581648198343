"""All that is served in our own style, found and not listed: a new route is among them."""

import re

from litestar import Litestar
from litestar.di import Provide

from tallypost_api.controllers import CONTROLLERS
from tallypost_api.style import Style, style_of_handler

NOBODYS = "01a20000-0000-7000-8000-000000000000"
"""An id that nothing has."""


def _served() -> dict[str, set[str]]:
    """The methods of each path of our own, with somebody's id in its place."""

    def nobody() -> None:
        raise AssertionError("nothing is served here")

    app = Litestar(
        CONTROLLERS,
        dependencies={"caller": Provide(nobody, sync_to_thread=False)},
        openapi_config=None,
        logging_config=None,
    )
    methods: dict[str, set[str]] = {}
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if style_of_handler(handler) is Style.OURS:
                path = re.sub(r"\{[^}]+\}", NOBODYS, route.path_format)
                methods.setdefault(path, set()).update(handler.http_methods)
    return methods


PATHS = _served()
"""The methods of each path."""
ROUTES = [
    (method, path)
    for path, methods in sorted(PATHS.items())
    for method in sorted(methods - {"HEAD", "OPTIONS"})
]
READ = [path for method, path in ROUTES if method == "GET"]
