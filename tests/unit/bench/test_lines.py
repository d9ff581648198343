"""The verdict on a line, and its form, which other programs read."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.lines import Line, Outcome, Verdict, explain, has_failed, judge, number, render
from bench.parts import all_lines

MORE = Line(name="more", floor=0.25, goal=0.4, says="more is better")
LESS = Line(name="less", floor=6, goal=3, says="less is better", unit="ms")
AMOUNT = Line(name="amount", floor=25, goal=8, says="in ms", unit="ms", is_ratio=False)

FORM = re.compile(
    r"bench [a-z0-9-]+ measured=\S+ ratio=\S+ floor=\S+ goal=\S+ (PASS|FLOOR|BELOW|ABSENT)( NOISY)?"
)


def outcome(line: Line, *values: float, measured: float | None = None) -> Outcome:
    return Outcome(line=line.name, measured=measured, values=values)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.5, "PASS"), (0.4, "PASS"), (0.39, "FLOOR"), (0.25, "FLOOR"), (0.24, "BELOW")],
)
def test_where_the_goal_is_the_greater_number_more_is_better(value: float, verdict: str) -> None:
    assert judge(MORE, outcome(MORE, value)) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(2.9, "PASS"), (3.0, "PASS"), (3.1, "FLOOR"), (6.0, "FLOOR"), (6.1, "BELOW")],
)
def test_where_the_goal_is_the_smaller_number_less_is_better(value: float, verdict: str) -> None:
    assert judge(LESS, outcome(LESS, value)) == verdict


def test_the_median_of_the_rounds_is_judged_and_one_bad_round_decides_nothing() -> None:
    assert judge(MORE, outcome(MORE, 0.1, 0.45, 0.5)) is Verdict.PASS
    assert judge(MORE, outcome(MORE, 0.1, 0.2, 0.9)) is Verdict.BELOW


def test_a_line_without_numbers_has_failed_unless_there_was_nothing_to_compare_with() -> None:
    assert judge(MORE, Outcome(line="more")) is Verdict.BELOW
    assert judge(MORE, Outcome(line="more", is_absent=True)) is Verdict.ABSENT


def test_only_a_line_below_its_floor_fails_the_run() -> None:
    assert not has_failed([Verdict.PASS, Verdict.FLOOR, Verdict.ABSENT])
    assert not has_failed([])
    assert has_failed([Verdict.PASS, Verdict.BELOW])


def test_a_ratio_shows_the_measured_number_with_its_unit_and_the_ratio_without() -> None:
    assert render(MORE, outcome(MORE, 0.41234, measured=5123.4)) == (
        "bench more measured=5123/s ratio=0.4123 floor=0.25 goal=0.4 PASS"
    )


def test_an_amount_has_no_ratio_and_bounds_in_its_own_unit() -> None:
    assert render(AMOUNT, outcome(AMOUNT, 3.6)) == (
        "bench amount measured=3.6ms ratio=- floor=25ms goal=8ms PASS"
    )


def test_a_line_without_numbers_keeps_its_form() -> None:
    failed, absent = Outcome(line="more", note="why"), Outcome(line="more", is_absent=True)
    assert render(MORE, failed) == "bench more measured=- ratio=- floor=0.25 goal=0.4 BELOW"
    assert render(MORE, absent) == "bench more measured=- ratio=- floor=0.25 goal=0.4 ABSENT"


def test_noise_is_marked_after_the_verdict() -> None:
    noisy = Outcome(line="more", values=(0.3,), is_noisy=True)
    assert render(MORE, noisy).endswith(" FLOOR NOISY")


def test_the_detail_names_the_range_and_the_reason() -> None:
    text = explain(MORE, Outcome(line="more", values=(0.3, 0.5, 0.4), note="on a busy machine"))
    assert text == "more: median 0.4 [0.3 to 0.5] of 3: on a busy machine"


@given(
    line=st.sampled_from([MORE, LESS, AMOUNT]),
    values=st.lists(st.floats(1e-9, 1e12), max_size=5),
    is_absent=st.booleans(),
    is_noisy=st.booleans(),
)
def test_every_line_has_the_same_form(
    line: Line, values: list[float], is_absent: bool, is_noisy: bool
) -> None:
    found = Outcome(line=line.name, values=tuple(values), is_absent=is_absent, is_noisy=is_noisy)
    assert FORM.fullmatch(render(line, found))


@given(value=st.floats(1e-9, 1e12))
def test_a_number_never_has_an_exponent(value: float) -> None:
    assert "e" not in number(value)


def test_no_two_lines_have_one_name_and_each_has_room_between_floor_and_goal() -> None:
    lines = list(all_lines())
    assert len({line.name for line in lines}) == len(lines)
    assert all(line.floor != line.goal for line in lines)
