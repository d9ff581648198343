"""Runs the public API: `python -m tallypost_api`."""

from tallypost_api.app import create_app
from tallypost_core.collector import spare_the_collector
from tallypost_core.errors import AppError
from tallypost_core.settings.apps import APISettings, load_or_exit
from tallypost_telemetry import logging, serving, tracing


def main() -> None:
    """Read the settings and serve until a signal; ends with status 1 where it cannot start."""
    settings = load_or_exit(APISettings)
    logging.configure(settings.log, "api")
    try:
        app = create_app(settings)
    except (ValueError, AppError) as error:
        raise SystemExit(f"The settings cannot be used: {error}") from error
    spare_the_collector()
    with tracing.running(settings.tracing, "api"):
        serving.run(app, settings.api.host, settings.api.port, on_stop=app.ops.begin_shutdown)


if __name__ == "__main__":
    main()
