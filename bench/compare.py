"""Turns rounds of measurements into what is known about a line."""

from collections.abc import Sequence

from bench.lines import Line, Outcome
from bench.rounds import Rounds


def ratio(line: Line, rounds: Rounds, name: str, anchor: str, note: str = "") -> Outcome:
    """One measurement divided by an anchor, round by round."""
    return Outcome(
        line=line.name,
        measured=rounds.median(name),
        values=rounds.ratios(name, anchor),
        is_noisy=rounds.is_noisy(anchor),
        note=note,
    )


def amount(line: Line, rounds: Rounds, name: str, *anchors: str, note: str = "") -> Outcome:
    """A measurement that is judged as it is; anchors only tell whether the machine was quiet."""
    return Outcome(
        line=line.name,
        values=rounds.values(name),
        is_noisy=rounds.is_noisy(*anchors),
        note=note,
    )


def absent(lines: Sequence[Line], reason: str) -> list[Outcome]:
    """Lines that have nothing to be compared with."""
    return [Outcome(line=line.name, is_absent=True, note=reason) for line in lines]


def failed(lines: Sequence[Line], reason: str) -> list[Outcome]:
    """Lines that have no number because something of ours did not work."""
    return [Outcome(line=line.name, note=f"failed: {reason}") for line in lines]
