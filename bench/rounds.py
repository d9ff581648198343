"""What several rounds of measurements say together."""

import math
import statistics
from collections.abc import Sequence

from bench.lines import number

NOISY_SPREAD = 1.5
"""An anchor whose best round exceeds its worst by more than this makes its lines noisy."""


class Rounds:
    """Measurements by name, one of each in every round.

    Names are measured one after the other within a round and the rounds follow each other, so
    that what else the machine does meets all of them alike.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> float:
        """Add this round's measurement, which must be a positive number; returns it."""
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} cannot be {value}")
        self._values.setdefault(name, []).append(value)
        return value

    def values(self, name: str) -> tuple[float, ...]:
        """All rounds of one measurement; none where it was never made."""
        return tuple(self._values.get(name, ()))

    def median(self, name: str) -> float:
        """The median over all rounds."""
        return statistics.median(self._values[name])

    def ratios(self, name: str, anchor: str) -> tuple[float, ...]:
        """One measurement divided by another, round by round.

        Raises ValueError where one of the two lacks a round.
        """
        pairs = zip(self._values[name], self._values[anchor], strict=True)
        return tuple(value / other for value, other in pairs)

    def is_noisy(self, *anchors: str) -> bool:
        """True where one of these moved too much between rounds to be relied on."""
        return any(spread(self._values[anchor]) > NOISY_SPREAD for anchor in anchors)

    def describe(self) -> list[str]:
        """One line for each measurement: median and range. Rates are a second."""
        return [
            f"{name}: {number(statistics.median(values))} "
            f"[{number(min(values))} to {number(max(values))}, n={len(values)}]"
            for name, values in self._values.items()
        ]


def spread(values: Sequence[float]) -> float:
    """The greatest of some positive numbers divided by the least."""
    return max(values) / min(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that at least `percent` of the values do not exceed (nearest rank)."""
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no percentile {percent} of {len(values)} values")
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[rank - 1]
