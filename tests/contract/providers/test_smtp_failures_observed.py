"""Every answer in the table of SMTP failures, given by a real peer and seen by the real client.

Silences stand in `test_smtp_phases`, what is known from EHLO in `test_smtp_extensions`.
"""

import socket

import pytest

from tallypost_providers.smtp_failures import FAILURES, Row, Silence
from tallypost_providers.types import Outcome
from tests.contract.providers.conftest import MakePeer, MakeProvider
from tests.contract.providers.raw_handover import hand_over
from tests.support.smtp_peers import wait_until
from tests.support.smtp_scripts import DROP, HANG
from tests.unit.providers.emails import make_email, make_recipient

IN_TIME_S = 10.0
SHORT_S = 1.0
# More than all buffers between here and a peer that does not read can hold.
LARGE = b"Subject: hi\r\n\r\n" + b"x" * 20_000_000 + b"\r\n"
LOGIN = ("relay-user", "relay-password")
REPLIES = {
    "2xx": "250 2.0.0 ok",
    "4xx": "451 4.3.0 later",
    "5xx": "550 5.1.1 no",
    "4xx 4.7.28": "450 4.7.28 too fast",
    "4xx 4.7.*": "450 4.7.1 too much mail",
    "5xx 5.3.4": "523 5.3.4 too big",
}
ANSWERED = [row for row in FAILURES if row.pattern != "any" and row.pattern not in set(Silence)]


# A row is the same on any loop.
@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize("row", ANSWERED, ids=lambda row: f"{row.phase} {row.pattern}")
async def test_answer_has_the_outcome_of_its_row(
    row: Row, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    reply = REPLIES.get(row.pattern, f"{row.pattern} said so")
    peer = await make_peer({row.phase: reply})
    provider = make_provider(peer.port, login=LOGIN)
    result = await provider.send(make_email(), IN_TIME_S)
    (entry,) = result.recipients
    assert entry.outcome is row.outcome
    if row.outcome is Outcome.ACCEPTED:
        assert result.phase == "final"
        assert len(peer.bodies) == 1
    else:
        assert result.phase == row.phase
        assert f"{entry.reply_code} {entry.detail}" == reply
        assert len(peer.bodies) == (row.phase == "final")


@pytest.mark.parametrize("silence", [HANG, DROP])
async def test_silence_inside_a_large_body_is_ambiguous(silence: str, make_peer: MakePeer) -> None:
    peer = await make_peer({"body": silence})
    timeout_s = SHORT_S if silence == HANG else IN_TIME_S
    result = await hand_over(peer.port, make_email(), LARGE, timeout_s)
    assert result.recipients[0].outcome is Outcome.AMBIGUOUS
    assert result.phase == "final"


async def test_refusal_in_the_middle_of_a_large_body_is_a_statement_and_ends_the_connection(
    make_peer: MakePeer,
) -> None:
    peer = await make_peer({"body": "552 5.3.4 too big"})
    result = await hand_over(peer.port, make_email(), LARGE, IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.REJECTED
    await wait_until(lambda: peer.open_connections == 0)


async def test_acceptance_before_the_message_has_ended_is_ambiguous(
    make_peer: MakePeer,
) -> None:
    peer = await make_peer({"body": "250 2.0.0 ok"})
    result = await hand_over(peer.port, make_email(), LARGE, IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.AMBIGUOUS
    assert (result.phase, result.evidence["silence"]) == ("final", "garbage")
    await wait_until(lambda: peer.open_connections == 0)


async def test_nobody_listening_is_unavailable(make_provider: MakeProvider) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        result = await make_provider(port).send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.UNAVAILABLE
    assert (result.phase, result.evidence["silence"]) == ("connect", Silence.REFUSED)


async def test_peer_that_takes_some_recipients_gets_the_message_for_those(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    answers = ["250 ok", "550 5.1.1 no such user", "450 4.2.0 greylisted", "250 ok"]
    peer = await make_peer({"rcpt": answers})
    recipients = tuple(make_recipient(f"r{number}@example.net") for number in range(4))
    result = await make_provider(peer.port).send(make_email(recipients=recipients), IN_TIME_S)
    assert [(entry.outcome, entry.reply_code) for entry in result.recipients] == [
        (Outcome.ACCEPTED, 250),
        (Outcome.REJECTED, 550),
        (Outcome.DEFERRED, 450),
        (Outcome.ACCEPTED, 250),
    ]
    assert [entry.enhanced_code for entry in result.recipients] == [
        "2.0.0",
        "5.1.1",
        "4.2.0",
        "2.0.0",
    ]
    assert result.provider_message_id == "4XyZ1"
    assert len(peer.bodies) == 1
