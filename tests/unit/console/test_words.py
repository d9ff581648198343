"""How values read on a page."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_console import words
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.queue.requeueing import SkipReason
from tallypost_providers.types import Outcome


@pytest.mark.parametrize("state", [*RecipientStatus, *Outcome])
def test_every_state_has_a_tone_of_its_own_choosing(state: str) -> None:
    assert state in words._TONES


def test_unknown_state_is_neutral() -> None:
    assert words.tone("something_new") == words.NEUTRAL


def test_times_are_shown_in_utc() -> None:
    moment = dt.datetime(2026, 11, 3, 8, 5, 9, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert words.full_time(moment) == "3 Nov 2026, 06:05:09 UTC"
    assert words.short_time(moment) == "3 Nov 2026, 06:05"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5_242_880, "5.2 MB")],
)
def test_sizes_are_short(size_bytes: int, text: str) -> None:
    assert words.size(size_bytes) == text


@pytest.mark.parametrize(("duration_s", "text"), [(0.0354, "35 ms"), (2.44, "2.4 s")])
def test_durations_are_short(duration_s: float, text: str) -> None:
    assert words.duration(duration_s) == text


@pytest.mark.parametrize(("word", "text"), [("sent", "Sent"), ("gave_up", "Gave up"), ("", "")])
def test_words_begin_with_a_capital(word: str, text: str) -> None:
    assert words.sentence(word) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (1_234_567, "1,234,567")])
def test_counts_have_their_thousands_apart(number: int, text: str) -> None:
    assert words.count(number) == text


def test_one_is_not_many() -> None:
    assert words.plural(1, "email") == "1 email"
    assert words.plural(0, "email") == "0 emails"
    assert words.plural(1204, "email") == "1,204 emails"
    assert words.plural(2, "address", "addresses") == "2 addresses"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "–"),
        (0, 7, "0 %"),
        (7, 7, "100 %"),
        (1, 8, "12.5 %"),
        (1, 10, "10 %"),
        (1, 100_000, "0.1 %"),
        (99_999, 100_000, "99.9 %"),
    ],
)
def test_shares_are_percents(part: int, whole: int, text: str) -> None:
    assert words.share(part, whole) == text


@given(st.integers(1, 10**9), st.data())
def test_what_is_not_all_is_not_shown_as_all_nor_as_none(whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    assert (words.share(part, whole) == "100 %") == (part == whole)
    assert (words.share(part, whole) == "0 %") == (part == 0)


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "0 ms"),
        (0.0354, "35 ms"),
        (2.44, "2.4 s"),
        (60, "1 min"),
        (59 * 60, "59 min"),
        (3600, "1 h"),
        (47 * 3600, "47 h"),
        (3 * 86_400, "3 days"),
    ],
)
def test_ages_and_gaps_are_told_in_the_unit_that_fits(duration_s: float, text: str) -> None:
    assert words.age(duration_s) == text
    assert words.gap(duration_s) == f"+{text}"


def test_clocks_that_disagree_make_no_negative_gap() -> None:
    assert words.gap(-0.2) == "+0 ms"


@pytest.mark.parametrize("reason", SkipReason)
def test_every_reason_to_skip_a_recipient_has_words(reason: SkipReason) -> None:
    assert words.skip_reason(reason)


@pytest.mark.parametrize(
    ("number", "text"),
    [(5.0, "5"), (100_000.0, "100000"), (12345.67, "12345.67"), (1e-7, "0.0000001")],
)
def test_number_in_a_field_is_as_short_as_it_can_be(number: float, text: str) -> None:
    assert words.exact(number) == text


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_number_in_a_field_reads_back_as_it_was(number: float) -> None:
    assert float(words.exact(number)) == number
    assert float(Decimal(words.exact(number, digits_on=2)).scaleb(-2)) == number
