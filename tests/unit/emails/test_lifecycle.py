"""The life of a recipient, written out: what each event does in each status."""

import itertools

import pytest

from tallypost_domain.emails.lifecycle import (
    PENDING,
    RecipientEvent,
    RecipientStatus,
    last_event,
    next_status,
    roll_up,
)

S, E = RecipientStatus, RecipientEvent

# The first line names the events; then one line for each status. "-" means that nothing changes.
TABLE = """
            accepted rejected deferred unconfirmed held released suppressed canceled gave_up requeued delivered bounced complained
scheduled   sent bounced deferred unconfirmed held -      suppressed canceled failed -      delivered bounced complained
queued      sent bounced deferred unconfirmed held -      suppressed canceled failed -      delivered bounced complained
held        sent bounced deferred unconfirmed -    queued suppressed canceled failed -      delivered bounced complained
deferred    sent bounced -        unconfirmed held -      suppressed canceled failed -      delivered bounced complained
unconfirmed sent bounced -        -           -    -      -          canceled -      queued delivered bounced complained
sent        -    -       -        -           -    -      -          -        -      -      delivered bounced complained
delivered   -    -       -        -           -    -      -          -        -      -      -         bounced complained
bounced     -    -       -        -           -    -      -          -        -      -      -         -       complained
complained  -    -       -        -           -    -      -          -        -      -      -         -       -
suppressed  -    -       -        -           -    -      -          -        -      -      -         -       -
failed      -    -       -        -           -    -      -          -        -      queued -         -       -
canceled    sent -       -        -           -    -      -          -        -      -      delivered bounced complained
"""  # noqa: E501 - a table reads as a table

_EVENTS, *_LINES = (line.split() for line in TABLE.strip().splitlines())
ROWS = [
    (status, event, status if word == "-" else word)
    for status, *words in _LINES
    for event, word in zip(_EVENTS, words, strict=True)
]


def test_table_covers_every_status_and_every_event() -> None:
    assert {(status, event) for status, event, _ in ROWS} == set(itertools.product(S, E))


@pytest.mark.parametrize(("status", "event", "expected"), ROWS)
def test_event_leads_where_the_table_says(status: str, event: str, expected: str) -> None:
    assert next_status(S(status), E(event)) == expected


def test_acceptance_ends_what_is_pending_and_what_was_canceled_by_mistake() -> None:
    assert {s for s in S if next_status(s, E.ACCEPTED) is not s} == PENDING | {S.CANCELED}


def test_no_event_but_a_requeue_leads_from_an_end_back_to_pending() -> None:
    back = [
        (status, event)
        for status, event in itertools.product(set(S) - PENDING, E)
        if next_status(status, event) in PENDING
    ]
    assert back == [(S.FAILED, E.REQUEUED)]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ("queued", "queued"),
        ("queued scheduled", "queued"),
        ("queued held", "held"),
        ("sent sent queued", "queued"),
        ("sent deferred queued", "deferred"),
        ("sent deferred unconfirmed", "unconfirmed"),
        ("failed unconfirmed", "unconfirmed"),
        ("sent bounced", "bounced"),
        ("sent failed", "failed"),
        ("bounced failed", "bounced"),
        ("delivered complained bounced", "complained"),
        ("delivered sent", "sent"),
        ("delivered delivered", "delivered"),
        ("delivered suppressed", "delivered"),
        ("sent suppressed canceled", "sent"),
        ("canceled suppressed", "canceled"),
        ("scheduled suppressed", "scheduled"),
        ("suppressed suppressed", "suppressed"),
    ],
)
def test_email_shows_work_before_ends_and_trouble_before_success(
    statuses: str, expected: str
) -> None:
    words = [S(word) for word in statuses.split()]
    for order in itertools.permutations(words):
        assert roll_up(order) == expected


def test_email_is_pending_exactly_while_a_recipient_is() -> None:
    for pair in itertools.product(S, S):
        assert (roll_up(pair) in PENDING) == any(status in PENDING for status in pair), pair


def test_email_without_recipients_has_no_status() -> None:
    with pytest.raises(ValueError, match="at least one recipient"):
        roll_up([])


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("scheduled", "scheduled"),
        ("queued", "queued"),
        ("held", "queued"),
        ("deferred", "delivery_delayed"),
        ("unconfirmed", "delivery_delayed"),
        ("sent", "sent"),
        ("delivered", "delivered"),
        ("bounced", "bounced"),
        ("complained", "complained"),
        ("suppressed", "suppressed"),
        ("failed", "failed"),
        ("canceled", "canceled"),
    ],
)
def test_public_word_is_one_that_clients_know(status: str, word: str) -> None:
    assert last_event(S(status)) == word
    known = (
        "queued scheduled sent delivered delivery_delayed opened clicked bounced complained "
        "canceled failed suppressed"
    )
    assert word in known.split()
