"""The line that people search emails with: what it means, and what is said of a wrong one."""

import datetime as dt
from uuid import UUID

import pytest

from tallypost_domain.emails.errors import InvalidSearch
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.emails.search_terms import (
    KEYS,
    MAX_LENGTH,
    STATUS_WORDS,
    EmailFilter,
    format_search,
    list_terms,
    parse_search,
)
from tallypost_domain.emails.types import Tag

_ID = UUID("0192d3c4-5b6a-7c8d-9e0f-1a2b3c4d5e6f")


def _utc(*fields: int) -> dt.datetime:
    return dt.datetime(*fields, tzinfo=dt.UTC)  # type: ignore[arg-type,misc]  # only numbers


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("", EmailFilter(), id="nothing"),
        pytest.param(" \t\n ", EmailFilter(), id="spaces"),
        pytest.param("status:bounced", EmailFilter(statuses=(RecipientStatus.BOUNCED,)), id="one"),
        pytest.param(
            "status:failed STATUS:Bounced status:failed",
            EmailFilter(statuses=(RecipientStatus.BOUNCED, RecipientStatus.FAILED)),
            id="several statuses",
        ),
        pytest.param(
            "status:delivery_delayed",
            EmailFilter(statuses=(RecipientStatus.DEFERRED, RecipientStatus.UNCONFIRMED)),
            id="word of the API",
        ),
        pytest.param(
            "status:queued",
            EmailFilter(statuses=(RecipientStatus.QUEUED, RecipientStatus.HELD)),
            id="queued includes held",
        ),
        pytest.param("to:Ada@Example.COM", EmailFilter(recipient="ada@example.com"), id="to"),
        pytest.param("ada@example.com", EmailFilter(recipient="ada@example.com"), id="address"),
        pytest.param(
            'to:"Ada <ada@example.com>"', EmailFilter(recipient="ada@example.com"), id="mailbox"
        ),
        pytest.param(
            "to:a@bücher.example", EmailFilter(recipient="a@xn--bcher-kva.example"), id="IDN"
        ),
        pytest.param("from:Hello@example.com", EmailFilter(sender="hello@example.com"), id="from"),
        pytest.param("stream:bulk", EmailFilter(stream="bulk"), id="stream"),
        pytest.param(
            'tag:a=b tag:"c=d e=f"', EmailFilter(tags=(Tag("a", "b"), Tag("c", "d e=f"))), id="tags"
        ),
        pytest.param(f"key:{_ID}", EmailFilter(api_key_id=_ID), id="key"),
        pytest.param(str(_ID).upper(), EmailFilter(email_id=_ID), id="id alone"),
        pytest.param(f"id:{_ID}", EmailFilter(email_id=_ID), id="id"),
        pytest.param(
            "after:2026-11-01 before:2026-11-20T09:30+01:00",
            EmailFilter(since=_utc(2026, 11, 1), until=_utc(2026, 11, 20, 8, 30)),
            id="times",
        ),
        pytest.param(
            'subject:"your order" welcome "Re: a@b" 10:30',
            EmailFilter(words=("your order", "welcome", "Re: a@b", "10:30")),
            id="words",
        ),
        pytest.param(
            r'"a \"b\" \\ c" d\e 5"', EmailFilter(words=(r'a "b" \ c', r"d\e", '5"')), id="escapes"
        ),
        pytest.param("100% _x", EmailFilter(words=("100%", "_x")), id="signs of SQL"),
    ],
)
def test_line_means_what_it_says(line: str, expected: EmailFilter) -> None:
    assert parse_search(line) == expected


@pytest.mark.parametrize(
    ("line", "field", "said"),
    [
        pytest.param("statsu:bounced", "statsu", "Did you mean `status:`?", id="unknown key"),
        pytest.param("https://a.test", "https", ", ".join(f"`{k}:`" for k in KEYS), id="keys"),
        pytest.param("Re: order", "re", "in quotes", id="colon in a subject"),
        pytest.param("status:bonced", "status", "Did you mean `bounced`?", id="unknown status"),
        pytest.param(
            "status:x", "status", ", ".join(f"`{w}`" for w in STATUS_WORDS), id="statuses"
        ),
        pytest.param("after:yesterday", "after", "`after:2026-11-20`", id="no date"),
        pytest.param("before:2026-02-30", "before", "`before:2026-11-20`", id="no such date"),
        pytest.param("after:0001-01-01T00:00+14:00", "after", "takes a date", id="before all time"),
        pytest.param("to:ada", "to", "`to:ada@example.com`", id="no address"),
        pytest.param("@ada", "to", "in quotes", id="no address alone"),
        pytest.param("to:a@r.test to:b@r.test", "to", "only once", id="two recipients"),
        pytest.param("key:tp_live_x", "key", "takes an id", id="no id"),
        pytest.param("tag:campaign", "tag", "`tag:campaign=welcome`", id="no value of a tag"),
        pytest.param("status:", "status", "right behind the colon", id="no value"),
        pytest.param("status: bounced", "status", "right behind the colon", id="space"),
        pytest.param('subject:""', "subject", "nothing in its quotes", id="empty quotes"),
        pytest.param('"your order', None, "A quote is not closed", id="open quote"),
        pytest.param('subject:"a"b', "subject", "A quote is not closed", id="no space"),
        pytest.param("a\x00b", "subject", "control character", id="NUL"),
        pytest.param('"a\nb"', "subject", "control character", id="line break"),
        pytest.param("\ud800", "subject", "control character", id="surrogate"),
        pytest.param("a" * (MAX_LENGTH + 1), None, "at most 500", id="too long"),
    ],
)
def test_wrong_line_is_told_what_to_write(line: str, field: str | None, said: str) -> None:
    with pytest.raises(InvalidSearch) as raised:
        parse_search(line)
    assert raised.value.field == field
    assert said in raised.value.message


@pytest.mark.parametrize(
    "line", ["to:secret@", "status:secret@r.test", "after:secret", "key:secret"]
)
def test_message_does_not_repeat_a_value(line: str) -> None:
    with pytest.raises(InvalidSearch) as raised:
        parse_search(line)
    assert "secret" not in raised.value.message


def test_terms_come_in_one_order_and_each_can_be_left_out() -> None:
    wanted = parse_search('welcome before:2026-11-20 "your order" to:ada@r.test status:bounced')
    terms = list_terms(wanted)
    assert terms == (
        "status:bounced",
        "to:ada@r.test",
        "before:2026-11-20",
        "welcome",
        '"your order"',
    )
    assert parse_search(" ".join(terms[1:])) == wanted.with_status(None)


def test_status_is_set_by_its_word() -> None:
    wanted = parse_search("status:bounced status:failed welcome")
    assert format_search(wanted.with_status("queued")) == "status:queued welcome"
    assert format_search(wanted.with_status(None)) == "welcome"


@pytest.mark.parametrize("word", STATUS_WORDS)
def test_every_status_word_comes_back(word: str) -> None:
    assert format_search(EmailFilter().with_status(word)) == f"status:{word}"
