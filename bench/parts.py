"""The parts of a run, in the order in which they run."""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from bench.context import Context
from bench.lines import Line, Outcome
from bench.ours import (
    accept,
    claims,
    delivery,
    growth,
    http_provider,
    latency,
    memory,
    neighbour,
    slow_sink,
    tls,
    whole,
)

Run = Callable[[Context], list[Outcome]]


class Part(Struct, frozen=True):
    """What is measured together, because it shares anchors and processes."""

    name: str
    lines: tuple[Line, ...]
    run: Run


class UnknownName(Exception):
    """A name that is neither that of a part nor that of a line."""


PARTS = (
    Part("accept", accept.LINES, accept.run),
    Part("delivery", delivery.LINES, delivery.run),
    Part("latency", latency.LINES, latency.run),
    Part("whole", whole.LINES, whole.run),
    Part("tls", tls.LINES, tls.run),
    Part("http", http_provider.LINES, http_provider.run),
    Part("slow-sink", slow_sink.LINES, slow_sink.run),
    Part("memory", memory.LINES, memory.run),
    Part("neighbour", neighbour.LINES, neighbour.run),
    Part("claims", claims.LINES, claims.run),
    Part("growth", growth.LINES, growth.run),
)


def choose(names: Sequence[str]) -> list[tuple[Part, list[Line]]]:
    """The parts to run and their lines to show; a line brings the part that measures it.

    No names choose everything. Raises UnknownName.
    """
    known = {part.name for part in PARTS} | {line.name for line in all_lines()}
    unknown = sorted(set(names) - known)
    if unknown:
        raise UnknownName(f"neither a part nor a line: {', '.join(unknown)}")
    chosen = []
    for part in PARTS:
        is_whole = not names or part.name in names
        lines = [line for line in part.lines if is_whole or line.name in names]
        if lines:
            chosen.append((part, lines))
    return chosen


def all_lines() -> Iterable[Line]:
    """Every line there is."""
    return (line for part in PARTS for line in part.lines)
