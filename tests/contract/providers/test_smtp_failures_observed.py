"""Every row of the table of SMTP failures, produced by a real peer and seen by the real client."""

import socket

import pytest

from tallypost_providers.smtp_failures import FAILURES, Row, Silence
from tallypost_providers.types import Outcome
from tests.contract.providers.conftest import MakePeer, MakeProvider
from tests.support.smtp_peers import DROP, GARBAGE, HANG, NOT_OFFERED
from tests.unit.providers.emails import make_email, make_recipient

IN_TIME_S = 10.0
SHORT_S = 1.0
LOGIN = ("relay-user", "relay-password")
REPLIES = {
    "2xx": "250 2.0.0 ok",
    "4xx": "451 4.3.0 later",
    "5xx": "550 5.1.1 no",
    "4xx 4.7.28": "450 4.7.28 too fast",
    "4xx 4.7.*": "450 4.7.1 too much mail",
    "5xx 5.3.4": "523 5.3.4 too big",
}
ANSWERED = [row for row in FAILURES if row.pattern not in {"any", "missing"}]
SILENT = [row for row in FAILURES if row.pattern == "any"]


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


@pytest.mark.parametrize("row", SILENT, ids=lambda row: row.phase)
@pytest.mark.parametrize("silence", [HANG, DROP, GARBAGE])
async def test_silence_has_the_outcome_of_its_row(
    row: Row, silence: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({row.phase: silence})
    security = "starttls" if row.phase == "tls" else "none"
    provider = make_provider(peer.port, security=security, login=LOGIN)
    result = await provider.send(make_email(), SHORT_S if silence == HANG else IN_TIME_S)
    (entry,) = result.recipients
    assert entry.outcome is row.outcome
    assert result.phase == row.phase
    expected = {HANG: Silence.TIMEOUT, DROP: Silence.RESET, GARBAGE: Silence.GARBAGE}[silence]
    assert result.evidence["silence"] == expected
    assert entry.detail


@pytest.mark.parametrize("silence", [HANG, DROP])
async def test_silence_inside_the_body_is_ambiguous(
    silence: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"body": silence})
    result = await make_provider(peer.port).send(
        make_email(text="x" * 3_000_000), SHORT_S if silence == HANG else IN_TIME_S
    )
    assert result.recipients[0].outcome is Outcome.AMBIGUOUS
    assert result.phase == "final"


async def test_refusal_in_the_middle_of_the_body_is_a_statement(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"body": "552 5.3.4 too big"})
    result = await make_provider(peer.port).send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.REJECTED


async def test_nobody_listening_is_unavailable(make_provider: MakeProvider) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        result = await make_provider(port).send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.UNAVAILABLE
    assert (result.phase, result.evidence["silence"]) == ("connect", Silence.REFUSED)


async def test_login_that_the_peer_does_not_offer_is_our_account_s_fault(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"auth": NOT_OFFERED})
    result = await make_provider(peer.port, login=LOGIN).send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.SUSPENDED
    assert (result.phase, result.evidence["silence"]) == ("auth", Silence.MISSING)


async def test_peer_without_starttls_gets_nothing(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"tls": NOT_OFFERED})
    result = await make_provider(peer.port, security="starttls", login=LOGIN).send(
        make_email(), IN_TIME_S
    )
    assert result.recipients[0].outcome is Outcome.UNAVAILABLE
    assert (result.phase, result.evidence["silence"]) == ("tls", Silence.MISSING)
    assert "auth" not in peer.steps


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_broken_handshake_gets_nothing(
    security: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"tls": "220 go ahead"})
    result = await make_provider(peer.port, security=security).send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.UNAVAILABLE
    assert result.phase == "tls"
    assert "mail" not in peer.steps


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
