"""How fast something went, from what arrived and what the clients saw."""

import math
from collections.abc import Collection, Iterable, Sequence

from tests.support.counting_sink import Arrived


def arrival_times(arrived: Arrived, prefix: str) -> list[float]:
    """When the copies for recipients of a plan came, in order, on the monotonic clock."""
    return sorted(
        copies.first_at_s
        for (_, address), copies in arrived.items()
        if address.startswith(f"{prefix}-")
    )


def email_times(arrived: Arrived) -> list[float]:
    """When the first copy of each email came, on the monotonic clock."""
    first_at_s: dict[str, float] = {}
    for (email_id, _), copies in arrived.items():
        first_at_s[email_id] = min(copies.first_at_s, first_at_s.get(email_id, math.inf))
    return list(first_at_s.values())


def rate_between(times: Iterable[float], first_s: float, last_s: float) -> float:
    """Of the times, how many a second lie between two."""
    return sum(first_s <= time_s < last_s for time_s in times) / (last_s - first_s)


def percentile(values: Collection[float], percent: float) -> float:
    """The least value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def jain_index(shares: Sequence[float]) -> float:
    """1 where all shares are equal, 1/n where one has everything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0
