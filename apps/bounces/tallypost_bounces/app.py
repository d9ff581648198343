"""Answers health checks and metrics; it takes no mail.

It checks what taking bounces stands on: the database login of their role.
"""

from tallypost_core.settings.apps import BouncesSettings, load_or_exit
from tallypost_telemetry import logging, serving
from tallypost_telemetry.checks.postgres import check_postgres
from tallypost_telemetry.ops import OpsApp


def create_app(settings: BouncesSettings) -> OpsApp:
    """The app itself; nothing is contacted before the first readiness check."""
    return OpsApp(
        {
            "database": check_postgres(settings.database.bounces_url),
        }
    )


def main() -> None:
    """Read the settings from the environment and serve until SIGTERM or SIGINT."""
    settings = load_or_exit(BouncesSettings)
    logging.configure(settings.log, "bounces")
    app = create_app(settings)
    serving.run(
        app,
        settings.bounces.host,
        settings.bounces.port,
        on_stop=app.begin_shutdown,
    )
