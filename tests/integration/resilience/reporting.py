"""What a process of a test says to its parent, a line of JSON each."""

import json
import sys

from tallypost_core.settings.groups import LogSettings
from tallypost_telemetry import logging


def wait_for_start() -> None:
    """Say that this process is ready, and return once all are."""
    # Logs go to standard error, so that they do not mix with the reports.
    logging.configure(LogSettings(), app="test")
    report("ready")
    sys.stdin.readline()


def report(value: object) -> None:
    """Send one line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
