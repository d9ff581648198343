"""Times are read in the forms that people and programs write, and nothing else passes."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_domain.emails.errors import InvalidField
from tallypost_domain.emails.scheduling import MAX_DAYS_AHEAD, parse_scheduled_at

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T13:00:00Z", NOW + dt.timedelta(hours=1)),
        ("2026-11-24T13:00:00.250Z", NOW + dt.timedelta(hours=1, milliseconds=250)),
        ("2026-11-24T15:00:00+02:00", NOW + dt.timedelta(hours=1)),
        ("2026-11-24 13:00", NOW + dt.timedelta(hours=1)),
        ("20261124T130000Z", NOW + dt.timedelta(hours=1)),
        ("2026-11-25", NOW + dt.timedelta(hours=12)),
        (" 2026-11-24T13:00:00Z ", NOW + dt.timedelta(hours=1)),
        ("2020-01-01T00:00:00Z", dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
        ("0001-01-01T00:00:00Z", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
        ("in 5 minutes", NOW + dt.timedelta(minutes=5)),
        ("in 1 min", NOW + dt.timedelta(minutes=1)),
        ("In An Hour", NOW + dt.timedelta(hours=1)),
        ("in a day", NOW + dt.timedelta(days=1)),
        ("  in  90  secs ", NOW + dt.timedelta(seconds=90)),
        ("in 2 hrs", NOW + dt.timedelta(hours=2)),
        ("in 4 weeks", NOW + dt.timedelta(weeks=4)),
        ("in 0 seconds", NOW),
        ("in 30 days", NOW + dt.timedelta(days=MAX_DAYS_AHEAD)),
    ],
)
def test_usual_forms_are_read_as_utc(text: str, expected: dt.datetime) -> None:
    moment = parse_scheduled_at(text, NOW)
    assert moment == expected
    assert moment.tzinfo is dt.UTC


@pytest.mark.parametrize(
    "text",
    [
        "tomorrow",
        "in minutes",
        "in -5 minutes",
        "in 5 months",
        "in 1.5 hours",
        "5 minutes",
        "in 5 \u017feconds",
        "in \u0665 minutes",
        "2026-13-01",
        "2026-11-24T25:00:00Z",
        "1764000000",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "\ud800",
        " ",
    ],
)
def test_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidField, match="2030-01-31T09:00:00Z") as caught:
        parse_scheduled_at(text, NOW)
    assert caught.value.field == "scheduled_at"


@pytest.mark.parametrize(
    "text", ["2026-12-24T12:00:01Z", "in 31 days", "in 999999 weeks", "9999-12-31T23:59:59Z"]
)
def test_more_than_30_days_ahead_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="30 days ahead") as caught:
        parse_scheduled_at(text, NOW)
    assert caught.value.field == "scheduled_at"


@given(st.text(max_size=40) | st.text("in 0123456789smhdwTZ:+-.", max_size=40))
def test_any_text_is_a_time_within_bounds_or_refused(text: str) -> None:
    try:
        moment = parse_scheduled_at(text, NOW)
    except InvalidField:
        return
    assert moment <= NOW + dt.timedelta(days=MAX_DAYS_AHEAD)
    assert moment.utcoffset() == dt.timedelta(0)
