"""Whom a relay's refusal is about: one sender's mail, or everybody's."""

import pytest

from tallypost_providers.smtp_answers import Answers
from tallypost_providers.smtp_failures import Phase, Reply, Signal, Silence
from tests.unit.providers.emails import make_email


@pytest.mark.parametrize(
    ("phase", "signal", "whom"),
    [
        ("mail", Reply(553, "5.7.1 Sender address rejected: not owned by user"), "sender"),
        ("mail", Reply(550, "no such sender"), "sender"),
        ("mail", Reply(450, "4.1.8 Sender address rejected: Domain not found"), "sender"),
        ("mail", Reply(451, "4.7.1 try again later"), "sender"),
        ("mail", Reply(421, "4.3.2 closing"), "account"),
        ("mail", Reply(421, "closing"), "account"),
        ("mail", Reply(452, "4.3.1 no room"), "account"),
        ("mail", Reply(454, "4.7.0 Throttling failure: Maximum sending rate exceeded"), "account"),
        ("mail", Reply(454, "Throttling failure: Daily message quota exceeded"), "account"),
        ("mail", Reply(450, "4.7.28 rate"), "account"),
        ("mail", Reply(550, "5.7.28 mail flood"), "account"),
        ("mail", Reply(450, "4.7.2 not now"), "sender"),
        ("mail", Reply(530, "5.7.0 log in first"), "account"),
        ("mail", Reply(535, "5.7.8 wrong password"), "account"),
        ("mail", Reply(503, "5.5.1 bad sequence"), "account"),
        ("mail", Silence.TIMEOUT, "account"),
        ("auth", Reply(535, "5.7.8 wrong password"), "account"),
        ("connect", Reply(554, "5.7.1 you are blocked"), "account"),
        ("data", Reply(451, "4.3.0 later"), "account"),
        ("data", Reply(451, "4.7.1 greylisted"), "sender"),
        ("data", Reply(450, "4.7.28 rate"), "account"),
        ("final", Reply(451, "4.7.1 greylisted by content, try again"), "sender"),
        ("final", Reply(451, "4.6.0 content is looked at"), "sender"),
        ("final", Reply(451, "4.3.2 shutting down"), "account"),
        ("final", Reply(451, "try again later"), "account"),
        ("final", Reply(450, "4.7.28 rate"), "account"),
        ("final", Reply(454, "4.7.0 Throttling failure"), "account"),
        ("final", Reply(421, "4.7.0 closing"), "account"),
    ],
)
def test_only_what_is_said_of_the_sender_is_about_the_sender(
    phase: Phase, signal: Signal, whom: str
) -> None:
    answers = Answers(make_email())
    answers.settle(phase, signal)
    assert answers.result().concerns == whom
