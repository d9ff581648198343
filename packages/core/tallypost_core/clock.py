"""The one place that asks what time it is; tests patch these functions and nothing else.

Leases, due times and ages never come from here: they use the database's own now().
"""

import datetime as dt
import time


def utc_now() -> dt.datetime:
    """The current time, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def monotonic_s() -> float:
    """Seconds on a clock that never goes back; only differences mean something."""
    return time.monotonic()
