"""What a process says about itself: logs, metrics, traces, health; and the serving of HTTP.

structlog loads rich wherever that is installed, for tracebacks that this package never draws.
It took 0.2 s of the 0.6 s that a small app needed to start, so it is hidden for a moment.
"""

import sys

if "rich" not in sys.modules:
    # None makes an import fail as if the package were not installed.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog as structlog
    finally:
        del sys.modules["rich"]
