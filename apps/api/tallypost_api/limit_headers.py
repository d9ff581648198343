"""Tells a caller in headers how often it may call."""

import math

from tallypost_api.style import Style
from tallypost_resilience.limiter import Decision

_POLICY = b'"default"'

Headers = list[tuple[bytes, bytes]]


def limit_headers(style: Style, decision: Decision, *, rate_per_s: float, burst: int) -> Headers:
    """What a decision about a key looks like on a route of this style."""
    if style is Style.RESEND:
        return [
            (b"ratelimit-limit", b"%d" % decision.limit),
            (b"ratelimit-remaining", b"%d" % decision.remaining),
            (b"ratelimit-reset", b"%d" % math.ceil(decision.reset_s)),
        ]
    # draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4: lists of strings, each with its
    # parameters. The window is the time in which a whole burst comes back.
    window_s = max(1, math.ceil(burst / rate_per_s))
    return [
        (b"ratelimit-policy", b"%s;q=%d;w=%d" % (_POLICY, burst, window_s)),
        (b"ratelimit", b"%s;r=%d;t=%d" % (_POLICY, decision.remaining, _wait_s(decision))),
    ]


def _wait_s(decision: Decision) -> int:
    """Whole seconds until there is room for one request more than `remaining`.

    Never longer than `retry-after`, as section 6 of the draft asks.
    """
    if not decision.allowed:
        return max(1, math.ceil(decision.retry_after_s))
    used = max(1, decision.limit - decision.remaining)
    return max(1, math.ceil(decision.reset_s / used))
