"""How values read on a page."""

import datetime as dt

import pytest

from tallypost_console import words
from tallypost_domain.emails.lifecycle import RecipientStatus
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
