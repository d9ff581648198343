"""The lines that a run ends with, and how one is judged."""

import enum
import statistics
from collections.abc import Iterable

from msgspec import Struct

_NOTHING = "-"


class Verdict(enum.StrEnum):
    """How a line came out."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password.
    FLOOR = "FLOOR"
    """The floor is met and the goal is not."""
    BELOW = "BELOW"
    """Not even the floor is met, or the product failed; the run then fails."""
    ABSENT = "ABSENT"
    """There was nothing to compare with on this machine."""


class Line(Struct, frozen=True, kw_only=True):
    """One thing that is judged. Where the goal is less than the floor, less is better."""

    name: str
    floor: float
    goal: float
    says: str
    """What is measured, for `--list`."""
    unit: str = "/s"
    """Unit of `measured`; of floor and goal too where the line is no ratio."""
    is_ratio: bool = True
    """False judges the measured number itself."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What a part found out for one line: numbers, or the reason why there are none."""

    line: str
    measured: float | None = None
    values: tuple[float, ...] = ()
    """The numbers that are judged by their median, one for each round."""
    is_noisy: bool = False
    is_absent: bool = False
    note: str = ""
    """What a reader should know: why there is no number, or how it came about."""


def judge(line: Line, outcome: Outcome) -> Verdict:
    """Hold the median of the values against goal and floor; without values it is a failure."""
    if outcome.is_absent:
        return Verdict.ABSENT
    if not outcome.values:
        return Verdict.BELOW
    value = statistics.median(outcome.values)
    if _reaches(value, line.goal, line):
        return Verdict.PASS
    return Verdict.FLOOR if _reaches(value, line.floor, line) else Verdict.BELOW


def render(line: Line, outcome: Outcome) -> str:
    """The line as it is printed last."""
    has_values = bool(outcome.values) and not outcome.is_absent
    unit = "" if line.is_ratio else line.unit
    measured = ratio = _NOTHING
    if has_values:
        value = statistics.median(outcome.values)
        shown = outcome.measured if outcome.measured is not None else value
        measured = f"{number(shown)}{line.unit}"
        ratio = number(value) if line.is_ratio else _NOTHING
    words = [
        f"bench {line.name} measured={measured} ratio={ratio}",
        f"floor={number(line.floor)}{unit} goal={number(line.goal)}{unit}",
        str(judge(line, outcome)),
    ]
    if outcome.is_noisy:
        words.append("NOISY")
    return " ".join(words)


def explain(line: Line, outcome: Outcome) -> str:
    """One line of detail: the range of what was judged, and what a reader should know."""
    parts = [line.name]
    if outcome.values:
        lowest, highest = min(outcome.values), max(outcome.values)
        parts.append(
            f"median {number(statistics.median(outcome.values))} "
            f"[{number(lowest)} to {number(highest)}] of {len(outcome.values)}"
        )
    if outcome.note:
        parts.append(outcome.note)
    return ": ".join(parts)


def has_failed(verdicts: Iterable[Verdict]) -> bool:
    """True where a run with these verdicts must not end with status 0."""
    return Verdict.BELOW in set(verdicts)


def number(value: float) -> str:
    """A number to read: four significant digits, whole from a hundred on, never an exponent."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    text = f"{value:.4g}"
    return f"{value:.4f}" if "e" in text else text


def _reaches(value: float, bound: float, line: Line) -> bool:
    return value >= bound if line.goal >= line.floor else value <= bound
