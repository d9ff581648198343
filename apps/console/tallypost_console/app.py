"""Puts the console together: routes, guard, pages about errors, and the edge around them."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final, cast

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from tallypost_console.access import guard_route, require_declared
from tallypost_console.assets import show_asset
from tallypost_console.dependencies import provide_session, provide_tenant, provide_visitor
from tallypost_console.edge import Edge
from tallypost_console.failures import show_failure
from tallypost_console.pages.api_keys import APIKeyPages
from tallypost_console.pages.dead_letters import DeadLetterPages
from tallypost_console.pages.demo import DemoPages
from tallypost_console.pages.email import EmailPage
from tallypost_console.pages.emails import EmailPages
from tallypost_console.pages.gallery import show_gallery
from tallypost_console.pages.home import follow_home, show_home
from tallypost_console.pages.inbox import InboxPages
from tallypost_console.pages.overview import follow_overview, show_overview
from tallypost_console.pages.preferences import choose_theme
from tallypost_console.pages.provider import ProviderPage
from tallypost_console.pages.providers import ProviderPages
from tallypost_console.pages.queue import QueuePages
from tallypost_console.pages.routes import RoutePages
from tallypost_console.pages.sign_in import show_sign_in, sign_in, sign_out
from tallypost_console.pages.tenants import open_tenant, show_tenants
from tallypost_console.services import Services
from tallypost_core.settings.apps import ConsoleSettings, load_or_exit
from tallypost_core.settings.loader import SettingsError, fail_start_up
from tallypost_telemetry import logging, serving, tracing
from tallypost_telemetry.asgi import ASGIApp
from tallypost_telemetry.checks.postgres import check_postgres
from tallypost_telemetry.ops import OpsApp

MAX_BODY_BYTES: Final = 64 * 1024

ROUTES: Final[tuple[ControllerRouterHandler, ...]] = (
    show_home,
    follow_home,
    show_sign_in,
    sign_in,
    sign_out,
    EmailPages,
    EmailPage,
    InboxPages,
    QueuePages,
    DeadLetterPages,
    APIKeyPages,
    ProviderPages,
    ProviderPage,
    RoutePages,
    show_overview,
    follow_overview,
    show_tenants,
    open_tenant,
    DemoPages,
    show_gallery,
    choose_theme,
    show_asset,
)


def create_app(settings: ConsoleSettings) -> Edge:
    """The whole app; nothing is contacted before the first request.

    Raises ValueError for settings that cannot be used, UndeclaredPermission for a route that
    does not say who may see it.
    """
    services = Services(settings)
    app = create_routes(services, ROUTES)
    ops = OpsApp({"database": check_postgres(settings.database.console_url)})
    # Litestar types the same protocol more narrowly.
    return Edge(cast("ASGIApp", app), ops, services.origins, services.live.close)


def create_routes(services: Services, routes: tuple[ControllerRouterHandler, ...]) -> Litestar:
    """The framework's part of the app. Raises UndeclaredPermission as `create_app` does."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        yield
        await services.close()

    app = Litestar(
        routes,
        guards=[guard_route],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "visitor": Provide(provide_visitor),
            "session": Provide(provide_session),
            "tenant": Provide(provide_tenant),
        },
        exception_handlers={Exception: show_failure},
        lifespan=[lifespan],
        state=State({"services": services}),
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    require_declared(app)
    return app


def main() -> None:
    """Read the settings from the environment and serve until SIGTERM or SIGINT."""
    settings = load_or_exit(ConsoleSettings)
    logging.configure(settings.log, "console")
    try:
        app = create_app(settings)
    except ValueError as error:
        fail_start_up(SettingsError([str(error)]))
    with tracing.running(settings.tracing, "console"):
        serving.run(app, settings.console.host, settings.console.port, on_stop=app.begin_shutdown)
