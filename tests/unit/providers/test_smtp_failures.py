"""The table of SMTP answers: every row by hand, and that nothing falls through."""

import re
from typing import get_args

import pytest

from tallypost_providers.smtp_failures import (
    FAILURES,
    HandoverStopped,
    Phase,
    Reply,
    Row,
    Signal,
    Silence,
    classify,
    find_row,
)
from tallypost_providers.types import Outcome

SILENCE_BEFORE_BODY = [Silence.TIMEOUT, Silence.RESET, Silence.GARBAGE]
# Each line: phase, what the peer does, what it means. One line at least for each row of the table.
EXPECTED: list[tuple[Phase, Signal, Outcome]] = [
    ("connect", Silence.REFUSED, Outcome.UNAVAILABLE),
    ("connect", Silence.TIMEOUT, Outcome.UNAVAILABLE),
    ("connect", Reply(421, "4.7.0 too many connections"), Outcome.UNAVAILABLE),
    ("connect", Reply(554, "no service"), Outcome.UNAVAILABLE),
    ("tls", Silence.UNTRUSTED, Outcome.UNAVAILABLE),
    ("tls", Silence.MISSING, Outcome.UNAVAILABLE),
    ("tls", Silence.GARBAGE, Outcome.UNAVAILABLE),
    ("tls", Reply(454, "4.7.0 TLS not available"), Outcome.UNAVAILABLE),
    ("hello", Reply(502, "what?"), Outcome.UNAVAILABLE),
    ("hello", Reply(421, "closing"), Outcome.UNAVAILABLE),
    ("auth", Reply(432, "4.7.12 password transition needed"), Outcome.SUSPENDED),
    ("auth", Reply(454, "4.7.0 temporary failure"), Outcome.UNAVAILABLE),
    ("auth", Reply(421, "closing"), Outcome.UNAVAILABLE),
    ("auth", Reply(535, "5.7.8 bad credentials"), Outcome.SUSPENDED),
    ("auth", Reply(534, "5.7.9 mechanism too weak"), Outcome.SUSPENDED),
    ("auth", Reply(530, "5.7.0 must issue STARTTLS"), Outcome.SUSPENDED),
    ("auth", Silence.MISSING, Outcome.SUSPENDED),
    ("auth", Silence.RESET, Outcome.UNAVAILABLE),
    ("mail", Reply(450, "4.7.28 rate"), Outcome.THROTTLED),
    ("mail", Reply(421, "4.7.28 rate"), Outcome.THROTTLED),
    ("mail", Reply(421, "4.7.0 errors"), Outcome.UNAVAILABLE),
    ("mail", Reply(454, "Throttling failure: Maximum sending rate exceeded"), Outcome.THROTTLED),
    ("mail", Reply(450, "4.7.1 too much mail"), Outcome.THROTTLED),
    ("mail", Reply(452, "4.3.1 storage"), Outcome.UNAVAILABLE),
    ("mail", Reply(451, ""), Outcome.UNAVAILABLE),
    ("mail", Silence.TOO_LARGE, Outcome.REJECTED),
    ("mail", Silence.MISSING, Outcome.REJECTED),
    ("mail", Reply(552, "5.3.4 too big"), Outcome.REJECTED),
    ("mail", Reply(523, "5.3.4 too big"), Outcome.REJECTED),
    ("mail", Reply(500, "?"), Outcome.UNAVAILABLE),
    ("mail", Reply(501, "syntax"), Outcome.UNAVAILABLE),
    ("mail", Reply(502, "?"), Outcome.UNAVAILABLE),
    ("mail", Reply(503, "order"), Outcome.UNAVAILABLE),
    ("mail", Reply(504, "parameter"), Outcome.UNAVAILABLE),
    ("mail", Reply(555, "parameter"), Outcome.UNAVAILABLE),
    ("mail", Reply(530, "5.7.0 authentication required"), Outcome.SUSPENDED),
    ("mail", Reply(550, "5.7.1 sender not allowed"), Outcome.SUSPENDED),
    ("mail", Reply(553, "5.1.8 unknown sender domain"), Outcome.SUSPENDED),
    *(("mail", silence, Outcome.UNAVAILABLE) for silence in SILENCE_BEFORE_BODY),
    ("rcpt", Reply(250, "ok"), Outcome.ACCEPTED),
    ("rcpt", Reply(251, "will forward"), Outcome.ACCEPTED),
    ("rcpt", Reply(450, "4.7.28 rate"), Outcome.THROTTLED),
    ("rcpt", Reply(421, "closing"), Outcome.UNAVAILABLE),
    ("rcpt", Reply(454, "Throttling failure"), Outcome.THROTTLED),
    ("rcpt", Reply(450, "4.2.0 greylisted"), Outcome.DEFERRED),
    ("rcpt", Reply(451, "4.7.1 greylisted"), Outcome.DEFERRED),
    ("rcpt", Reply(452, "4.5.3 too many recipients"), Outcome.DEFERRED),
    ("rcpt", Reply(452, "4.2.2 mailbox full"), Outcome.DEFERRED),
    ("rcpt", Reply(500, "?"), Outcome.UNAVAILABLE),
    ("rcpt", Reply(502, "?"), Outcome.UNAVAILABLE),
    ("rcpt", Reply(503, "order"), Outcome.UNAVAILABLE),
    ("rcpt", Reply(530, "authentication required"), Outcome.SUSPENDED),
    ("rcpt", Reply(550, "5.1.1 no such user"), Outcome.REJECTED),
    ("rcpt", Reply(501, "5.1.3 syntax"), Outcome.REJECTED),
    ("rcpt", Reply(554, "5.7.1 relay access denied"), Outcome.REJECTED),
    ("rcpt", Silence.MISSING, Outcome.REJECTED),
    *(("rcpt", silence, Outcome.UNAVAILABLE) for silence in SILENCE_BEFORE_BODY),
    ("data", Reply(451, "4.7.28 rate"), Outcome.THROTTLED),
    ("data", Reply(421, "closing"), Outcome.UNAVAILABLE),
    ("data", Reply(454, "Throttling failure"), Outcome.THROTTLED),
    ("data", Reply(451, "4.3.0 later"), Outcome.UNAVAILABLE),
    ("data", Reply(500, "?"), Outcome.UNAVAILABLE),
    ("data", Reply(502, "?"), Outcome.UNAVAILABLE),
    ("data", Reply(503, "order"), Outcome.UNAVAILABLE),
    ("data", Reply(530, "authentication required"), Outcome.SUSPENDED),
    ("data", Reply(554, "5.5.1 no valid recipients"), Outcome.REJECTED),
    ("data", Reply(250, "out of step"), Outcome.UNAVAILABLE),
    *(("data", silence, Outcome.UNAVAILABLE) for silence in SILENCE_BEFORE_BODY),
    ("final", Reply(250, "2.0.0 queued"), Outcome.ACCEPTED),
    ("final", Reply(252, "why not"), Outcome.ACCEPTED),
    ("final", Reply(450, "4.7.28 rate"), Outcome.THROTTLED),
    ("final", Reply(454, "Throttling failure"), Outcome.THROTTLED),
    ("final", Reply(421, "closing"), Outcome.UNAVAILABLE),
    ("final", Reply(452, "4.3.1 storage"), Outcome.UNAVAILABLE),
    ("final", Reply(451, "4.7.1 later"), Outcome.UNAVAILABLE),
    ("final", Reply(552, "5.3.4 too big"), Outcome.REJECTED),
    ("final", Reply(554, "5.7.1 spam"), Outcome.REJECTED),
    ("final", Reply(354, "out of step"), Outcome.AMBIGUOUS),
    *(("final", silence, Outcome.AMBIGUOUS) for silence in SILENCE_BEFORE_BODY),
]


@pytest.mark.parametrize(("phase", "signal", "outcome"), EXPECTED, ids=str)
def test_answer_means_what_the_standard_says(
    phase: Phase, signal: Signal, outcome: Outcome
) -> None:
    assert classify(phase, signal) is outcome


def test_every_row_decides_at_least_one_of_these_answers() -> None:
    used = [find_row(phase, signal) for phase, signal, _ in EXPECTED]
    assert [row for row in FAILURES if row not in used] == []


def test_every_answer_in_every_phase_has_a_meaning() -> None:
    signals: list[Signal] = [*Silence, *(Reply(code, "") for code in range(200, 600))]
    for phase in get_args(Phase):
        for signal in signals:
            classify(phase, signal)


def test_only_silence_and_nonsense_after_the_body_is_ambiguous() -> None:
    for phase in get_args(Phase):
        for code in range(200, 600):
            is_ambiguous = classify(phase, Reply(code, "")) is Outcome.AMBIGUOUS
            assert is_ambiguous == (phase == "final" and 300 <= code <= 399)


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: f"{row.phase} {row.pattern}")
def test_every_row_gives_its_reason_and_a_readable_pattern(row: Row) -> None:
    assert row.reason
    code = r"([2-5](\d\d|xx))( [245]\.\d\.(\d+|\*))?"
    assert row.pattern == "any" or row.pattern in set(Silence) or re.fullmatch(code, row.pattern)


def test_connection_is_broken_where_nobody_knows_what_comes_next() -> None:
    for phase in get_args(Phase):
        for silence in Silence:
            is_known_from_ehlo = silence in {Silence.MISSING, Silence.TOO_LARGE}
            assert HandoverStopped(phase, silence).is_broken == (not is_known_from_ehlo)
        for code in range(200, 600):
            is_in_step = code >= 400 and code != 421
            assert HandoverStopped(phase, Reply(code, "")).is_broken == (not is_in_step)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5.1.1 no such user", "5.1.1"),
        ("4.7.28", "4.7.28"),
        ("no code", None),
        ("5.1.1x", None),
        ("2026.11.24 was a day", None),
        ("", None),
    ],
)
def test_enhanced_code_is_read_only_where_it_stands_alone(text: str, expected: str | None) -> None:
    assert Reply(550, text).enhanced_code == expected
