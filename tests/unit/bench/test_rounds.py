"""What several rounds say together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rounds import Rounds, percentile, spread

POSITIVE = st.floats(1e-6, 1e9)


def rounds_of(**values: list[float]) -> Rounds:
    rounds = Rounds()
    for name, numbers in values.items():
        for number in numbers:
            rounds.note(name, number)
    return rounds


def test_ratios_are_taken_within_a_round_and_not_of_the_medians() -> None:
    # The machine was half as fast in the second round, which both felt.
    rounds = rounds_of(ours=[50, 25, 60], anchor=[100, 50, 100])
    assert rounds.ratios("ours", "anchor") == (0.5, 0.5, 0.6)
    assert rounds.median("ours") == 50


def test_a_round_that_one_of_two_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        rounds_of(ours=[1, 2], anchor=[1]).ratios("ours", "anchor")


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_measurement_that_is_no_positive_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        Rounds().note("speed", value)


def test_an_anchor_is_noisy_once_its_best_round_exceeds_its_worst_by_half() -> None:
    rounds = rounds_of(steady=[100, 149], moving=[100, 151])
    assert not rounds.is_noisy("steady")
    assert rounds.is_noisy("moving")
    assert rounds.is_noisy("steady", "moving")


def test_what_was_never_measured_has_no_values() -> None:
    assert rounds_of(ours=[1]).values("anchor") == ()


@given(values=st.lists(POSITIVE, min_size=1), percent=st.integers(1, 100))
def test_at_least_the_percentage_lies_at_or_below_the_percentile(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    at_or_below = sum(value <= found for value in values)
    below = sum(value < found for value in values)
    assert found in values
    assert at_or_below * 100 >= percent * len(values)
    assert below * 100 < percent * len(values)


def test_the_99th_percentile_of_a_hundred_is_the_second_largest() -> None:
    assert percentile([float(number) for number in range(1, 101)], 99) == 99


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_of_nothing_or_outside_the_range_is_an_error(
    values: list[float], percent: float
) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, percent)


@given(values=st.lists(POSITIVE, min_size=1))
def test_the_spread_is_at_least_one(values: list[float]) -> None:
    assert spread(values) >= 1
