"""The table of SendGrid's answers: every row by hand, and that nothing falls through."""

import datetime as dt
import re

import pytest

from tallypost_providers.http_failures import (
    HTTPAnswer,
    HTTPRow,
    HTTPSignal,
    HTTPSilence,
    find_row,
)
from tallypost_providers.sendgrid_failures import (
    FAILURES,
    read_answer,
    read_errors,
    read_evidence,
    read_pause_s,
)
from tallypost_providers.types import Outcome
from tallypost_resilience.egress import EgressResponse

NOW = dt.datetime(2026, 3, 1, 9, 30, tzinfo=dt.UTC)
ERRORS = b'{"errors":[{"message":"no","field":null,"help":null}]}'


def answer(status: int, *, documented: bool = True) -> HTTPAnswer:
    return HTTPAnswer(status, is_documented=documented)


# One line at least for each row of the table.
EXPECTED: list[tuple[HTTPSignal, Outcome]] = [
    (HTTPSilence.UNREACHABLE, Outcome.UNAVAILABLE),
    (answer(202), Outcome.ACCEPTED),
    (answer(400), Outcome.REJECTED),
    (answer(401), Outcome.SUSPENDED),
    (answer(403), Outcome.SUSPENDED),
    (HTTPAnswer(403, "from"), Outcome.SUSPENDED),
    (answer(404), Outcome.SUSPENDED),
    (answer(405), Outcome.SUSPENDED),
    (answer(406), Outcome.SUSPENDED),
    (answer(415), Outcome.SUSPENDED),
    (answer(413), Outcome.REJECTED),
    (answer(413, documented=False), Outcome.UNAVAILABLE),
    (answer(429), Outcome.THROTTLED),
    (answer(429, documented=False), Outcome.THROTTLED),
    (answer(500), Outcome.UNAVAILABLE),
    (answer(503), Outcome.UNAVAILABLE),
    (answer(502), Outcome.AMBIGUOUS),
    (answer(504), Outcome.AMBIGUOUS),
    (answer(200), Outcome.AMBIGUOUS),
    (HTTPSilence.TIMEOUT, Outcome.AMBIGUOUS),
    (HTTPSilence.RESET, Outcome.AMBIGUOUS),
]


@pytest.mark.parametrize(("signal", "outcome"), EXPECTED, ids=str)
def test_answer_means_what_sendgrid_documents(signal: HTTPSignal, outcome: Outcome) -> None:
    assert find_row(FAILURES, signal).outcome is outcome


def test_every_row_decides_at_least_one_of_these_answers() -> None:
    used = [find_row(FAILURES, signal) for signal, _ in EXPECTED]
    assert [row for row in FAILURES if row not in used] == []


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.pattern)
def test_every_row_gives_its_reason_and_a_readable_pattern(row: HTTPRow) -> None:
    assert row.reason
    assert row.pattern in {"any", *HTTPSilence} or re.fullmatch(
        r"[1-5]\d\d( undocumented| from)?", row.pattern
    )


def test_what_sendgrid_did_not_say_itself_never_moves_but_for_what_its_status_says() -> None:
    stated = {413: Outcome.UNAVAILABLE, 429: Outcome.THROTTLED}
    for status in range(100, 600):
        if status != 202:
            outcome = find_row(FAILURES, answer(status, documented=False)).outcome
            assert outcome is stated.get(status, Outcome.AMBIGUOUS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad Gateway</html>",
        b"{}",
        b'{"errors":[]}',
        b'{"errors":"no"}',
        b'{"errors":[{"field":"from"}]}',
        b'{"error":"no"}',
        b'[{"message":"no"}]',
        b'{"errors":[{"message":"n',
        b"\xff",
    ],
)
def test_body_in_another_form_is_no_statement(body: bytes) -> None:
    assert read_errors(body) is None
    assert not read_answer(EgressResponse(503, {}, body), NOW).is_documented


def test_errors_are_told_with_the_fields_that_they_are_about() -> None:
    body = (
        b'{"errors":[{"message":"no subject","field":"subject","help":{"a":1}},'
        b'{"message":"bad","field":"null"},{"message":"worse"}],"id":"x"}'
    )
    assert read_answer(EgressResponse(400, {}, body), NOW).text == "subject: no subject; bad; worse"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7", "x-ratelimit-reset": "1"}, 7.0),
        ({"retry-after": "Sun, 01 Mar 2026 09:30:20 GMT"}, 20.0),
        ({"retry-after": "Sun, 01 Mar 2026 09:00:00 GMT"}, 0.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 45)}, 45.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) - 45)}, 0.0),
        ({"retry-after": "soon", "x-ratelimit-reset": str(int(NOW.timestamp()) + 5)}, 5.0),
        ({"retry-after": "9" * 15}, 86400.0),
        ({"retry-after": "-1", "x-ratelimit-reset": "soon"}, None),
        ({}, None),
    ],
)
def test_end_of_the_rate_limit_is_read_from_either_header(
    headers: dict[str, str], expected: float | None
) -> None:
    assert read_answer(EgressResponse(429, headers, ERRORS), NOW).retry_after_s == expected


@pytest.mark.parametrize("headers", [{"retry-after": "7"}, {}])
def test_rate_limit_is_one_whoever_tells_it(headers: dict[str, str]) -> None:
    told = read_answer(EgressResponse(429, headers, b"slow down"), NOW)
    assert find_row(FAILURES, told).outcome is Outcome.THROTTLED
    assert told.retry_after_s == (7.0 if headers else None)


def test_only_a_rate_limit_says_when_to_come_back() -> None:
    headers = {"retry-after": "7"}
    assert read_answer(EgressResponse(503, headers, ERRORS), NOW).retry_after_s is None


@pytest.mark.parametrize(
    ("status", "remaining", "expected"),
    [(202, "0", 45.0), (202, "1", None), (429, "1", 45.0), (500, "", None)],
)
def test_used_up_rate_asks_for_a_pause(status: int, remaining: str, expected: float | None) -> None:
    headers = {
        "x-ratelimit-remaining": remaining,
        "x-ratelimit-reset": str(int(NOW.timestamp()) + 45),
    }
    assert read_pause_s(EgressResponse(status, headers, ERRORS), NOW) == expected


def test_rate_headers_are_evidence_of_every_answer() -> None:
    headers = {
        "x-ratelimit-limit": "500",
        "x-ratelimit-remaining": "499",
        "x-ratelimit-reset": "1392815263",
        "server": "nginx",
    }
    assert read_evidence(EgressResponse(202, headers, b"")) == {
        "status": "202",
        "rate_limit": "500",
        "rate_remaining": "499",
        "rate_reset": "1392815263",
    }
