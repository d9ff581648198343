"""Which parts run for a name."""

import pytest

from bench.parts import PARTS, UnknownName, choose


def test_without_names_everything_runs() -> None:
    assert [(part.name, tuple(lines)) for part, lines in choose([])] == [
        (part.name, part.lines) for part in PARTS
    ]


def test_a_line_brings_its_part_and_no_other_line_of_it() -> None:
    ((part, lines),) = choose(["whole-vs-postfix"])
    assert part.name == "whole"
    assert [line.name for line in lines] == ["whole-vs-postfix"]


def test_a_part_brings_all_its_lines_and_the_order_is_that_of_the_bench() -> None:
    chosen = choose(["latency", "accept"])
    assert [part.name for part, _ in chosen] == ["accept", "latency"]
    assert all(tuple(lines) == part.lines for part, lines in chosen)


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(UnknownName, match="no-such-line"):
        choose(["accept", "no-such-line"])


def test_no_line_has_the_name_of_a_part() -> None:
    names = {part.name for part in PARTS}
    assert not names & {line.name for part in PARTS for line in part.lines}
