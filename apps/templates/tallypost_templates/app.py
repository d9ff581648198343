"""Answers health checks and metrics; it has no product route.

It checks what pages for recipients stand on: the database login of their role.
"""

from tallypost_core.settings.apps import TemplatesSettings, load_or_exit
from tallypost_telemetry import logging, serving
from tallypost_telemetry.checks.postgres import check_postgres
from tallypost_telemetry.ops import OpsApp


def create_app(settings: TemplatesSettings) -> OpsApp:
    """The app itself; nothing is contacted before the first readiness check."""
    return OpsApp(
        {
            "database": check_postgres(settings.database.templates_url),
        }
    )


def main() -> None:
    """Read the settings from the environment and serve until SIGTERM or SIGINT."""
    settings = load_or_exit(TemplatesSettings)
    logging.configure(settings.log, "templates")
    app = create_app(settings)
    serving.run(
        app,
        settings.templates.host,
        settings.templates.port,
        on_stop=app.begin_shutdown,
    )
