"""Answers health checks and metrics; it has no product route.

It checks what billing stands on: its database login and Redis.
"""

from tallypost_core.settings.apps import BillingSettings, load_or_exit
from tallypost_telemetry import logging, serving
from tallypost_telemetry.checks.postgres import check_postgres
from tallypost_telemetry.checks.redis import check_redis
from tallypost_telemetry.ops import OpsApp


def create_app(settings: BillingSettings) -> OpsApp:
    """The app itself; nothing is contacted before the first readiness check."""
    return OpsApp(
        {
            "database": check_postgres(settings.database.billing_url),
            "redis": check_redis(settings.redis.url),
        }
    )


def main() -> None:
    """Read the settings from the environment and serve until SIGTERM or SIGINT."""
    settings = load_or_exit(BillingSettings)
    logging.configure(settings.log, "billing")
    app = create_app(settings)
    serving.run(
        app,
        settings.billing.host,
        settings.billing.port,
        on_stop=app.begin_shutdown,
    )
