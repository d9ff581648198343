"""Percentiles of ages that were counted by classes."""

import pytest

from tallypost_domain.queue.samples import AGE_BOUNDS_S, Sample, percentile_s


def ages(*seconds: float) -> list[int]:
    """Emails of these ages, counted."""
    sample = Sample.empty()
    for age_s in seconds:
        sample.add_age(age_s)
    return sample.ages


def test_without_emails_there_is_none() -> None:
    assert percentile_s(ages(), 0.95) is None


@pytest.mark.parametrize("age_s", [-1.0, 0.0, 0.004, 0.005, 0.03, 2.5, 100.0, 300.0])
def test_age_of_one_lies_in_its_class(age_s: float) -> None:
    found = percentile_s(ages(age_s), 0.95)
    assert found is not None
    upper = min(bound for bound in AGE_BOUNDS_S if bound >= age_s)
    lower = max((bound for bound in AGE_BOUNDS_S if bound < upper), default=0.0)
    assert lower < found <= upper


def test_beyond_the_last_bound_it_is_that_bound() -> None:
    assert percentile_s(ages(1e6), 0.95) == AGE_BOUNDS_S[-1]


def test_a_few_slow_ones_show_only_where_they_are_more_than_the_rest_of_the_share() -> None:
    fast = [0.02] * 96
    for slow, limit_s in ((4, 0.025), (96, 60.0)):
        found = percentile_s(ages(*fast, *[40.0] * slow), 0.95)
        assert found is not None
        assert found <= limit_s
        assert (found > 30.0) == (slow == 96)


def test_shares_rise_with_what_is_asked_for() -> None:
    counted = ages(*(n / 100 for n in range(1, 500)))
    found = [percentile_s(counted, share) for share in (0.05, 0.5, 0.95, 1.0)]
    assert found == sorted(found, key=lambda value: value or 0.0)
