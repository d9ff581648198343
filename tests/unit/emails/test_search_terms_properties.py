"""Whatever is searched for, its line is read as the same filter again."""

import datetime as dt
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from tallypost_domain.emails.addresses import FORBIDDEN_IN_HEADERS
from tallypost_domain.emails.errors import InvalidSearch
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.search_terms import (
    STATUS_WORDS,
    EmailFilter,
    format_search,
    parse_search,
)
from tallypost_domain.emails.types import Tag

_TEXT = st.text(min_size=1, max_size=12).filter(lambda text: not FORBIDDEN_IN_HEADERS.search(text))
_ADDRESSES = st.from_regex(r"[a-z0-9+.-]{1,3}x@[a-z]{1,5}\.test", fullmatch=True).filter(
    lambda address: not address.startswith(".") and ".." not in address
)
_TIMES = st.datetimes(timezones=st.just(dt.UTC))


def _statuses(words: list[str]) -> tuple[RecipientStatus, ...]:
    return tuple(
        status for status in RecipientStatus if any(status in STATUS_WORDS[word] for word in words)
    )


_FILTERS = st.builds(
    EmailFilter,
    email_id=st.none() | st.uuids(),
    statuses=st.lists(st.sampled_from(sorted(STATUS_WORDS)), max_size=4).map(_statuses),
    recipient=st.none() | _ADDRESSES,
    sender=st.none() | _ADDRESSES,
    stream=st.none() | _TEXT,
    tags=st.lists(
        st.builds(Tag, _TEXT.filter(lambda name: "=" not in name), _TEXT), max_size=2, unique=True
    ).map(tuple),
    api_key_id=st.none() | st.uuids(),
    since=st.none() | _TIMES,
    until=st.none() | _TIMES,
    words=st.lists(_TEXT, max_size=3, unique=True).map(tuple),
)


@given(_FILTERS)
def test_line_of_a_filter_is_read_as_that_filter(wanted: EmailFilter) -> None:
    assert parse_search(format_search(wanted)) == wanted


@given(st.text(alphabet=st.sampled_from('ab:"\\@ =-\n\x00tso0'), max_size=40) | st.text())
def test_any_line_is_read_or_refused(line: str) -> None:
    with suppress(InvalidSearch):
        wanted = parse_search(line)
        assert parse_search(format_search(wanted)) == wanted
