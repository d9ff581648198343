"""How growth is told from the filling of caches."""

import pytest

from bench.errors import Failed
from bench.ours.memory import Sample, growth_percent, most_mb


def samples_of(*memory_mb: float) -> list[Sample]:
    return [Sample(done=float(number), memory_mb=value) for number, value in enumerate(memory_mb)]


def test_what_the_first_tenth_of_the_work_takes_is_no_growth() -> None:
    warm = samples_of(40, 60, *[80.0] * 99)
    assert growth_percent(warm) == 0


def test_growth_is_what_the_last_tenth_has_above_the_second() -> None:
    steady_rise = samples_of(*[100 + number / 10 for number in range(101)])
    # From 101.5, the middle of the second tenth, to 109.5, the middle of the last.
    assert growth_percent(steady_rise) == pytest.approx(100 * (109.5 / 101.5 - 1))


def test_one_peak_is_no_growth_and_yet_counts_as_memory_that_was_needed() -> None:
    peak = samples_of(*[80.0] * 50, 130.0, *[80.0] * 50)
    assert growth_percent(peak) == 0
    assert most_mb(peak) == 130


def test_work_that_did_not_advance_tells_nothing() -> None:
    with pytest.raises(Failed):
        growth_percent([Sample(done=0, memory_mb=80), Sample(done=0, memory_mb=90)])
