"""How many circuits of each breaker are in which state, counted when somebody asks.

A circuit turns half open by the passing of time, so no event could tell.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol
from weakref import WeakSet

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tallypost_telemetry.metrics import REGISTRY


class Watched(Protocol):
    """A breaker, as far as its metric needs it."""

    @property
    def name(self) -> str:
        """A fixed word, which several breakers of a process may share."""
        ...

    def count_states(self) -> Mapping[str, int]:
        """How many circuits are in each state; a state without any stands there too."""
        ...


class _BreakerStates(Collector):
    def __init__(self) -> None:
        self.watched: WeakSet[Watched] = WeakSet()

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "tallypost_breaker_circuits",
            "Circuits that this process remembers, by the state that each is in.",
            labels=("breaker", "state"),
        )
        counts: Counter[tuple[str, str]] = Counter()
        for breaker in self.watched:
            for state, count in breaker.count_states().items():
                counts[breaker.name, state] += count
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        yield family


_STATES = _BreakerStates()
REGISTRY.register(_STATES)


def watch(breaker: Watched) -> None:
    """Let the metric count a breaker's circuits for as long as it lives."""
    _STATES.watched.add(breaker)
