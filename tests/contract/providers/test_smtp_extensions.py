"""What the SMTP provider does with the extensions that a peer offers, and without them."""

import re

import pytest

from tallypost_providers.smtp_failures import Silence
from tallypost_providers.types import Outcome
from tests.contract.providers.conftest import MakePeer, MakeProvider
from tests.contract.providers.raw_handover import hand_over
from tests.support.smtp_peers import wait_until
from tests.support.smtp_scripts import NOT_OFFERED, PIPELINING, ScriptedPeer
from tests.unit.providers.emails import make_email, make_recipient

IN_TIME_S = 10.0
EIGHT_BIT = "Subject: hi\r\n\r\nGrüße\r\n".encode()
THREE = tuple(make_recipient(f"r{number}@example.net") for number in range(3))


def mail_lines(peer: ScriptedPeer) -> list[str]:
    return [line.decode() for line in peer.lines if line.startswith(b"MAIL")]


@pytest.mark.parametrize("is_pipelining", [True, False])
async def test_commands_leave_together_where_the_peer_offers_pipelining(
    is_pipelining: bool, make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({}, PIPELINING if is_pipelining else ("SIZE",))
    provider = make_provider(peer.port)
    for _ in range(2):
        peer.writes.clear()
        result = await provider.send(make_email(recipients=THREE), IN_TIME_S)
        assert {entry.outcome for entry in result.recipients} == {Outcome.ACCEPTED}
    verbs = [re.findall(rb"^([A-Z]{4})\b", write, re.MULTILINE) for write in peer.writes]
    group = [b"RSET", b"MAIL", b"RCPT", b"RCPT", b"RCPT", b"DATA"]
    assert verbs[:-1] == ([group] if is_pipelining else [[verb] for verb in group])


async def test_peer_that_wants_data_for_nobody_gets_an_empty_message_and_stays_in_use(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({"rcpt": "550 5.1.1 no", "data": "354 go ahead"})
    provider = make_provider(peer.port)
    refused = await provider.send(make_email(recipients=THREE), IN_TIME_S)
    peer.script = {}
    taken = await provider.send(make_email(), IN_TIME_S)
    assert [entry.outcome for entry in refused.recipients] == [Outcome.REJECTED] * 3
    assert refused.phase == "rcpt"
    assert taken.recipients[0].outcome is Outcome.ACCEPTED
    assert (peer.empty_bodies, len(peer.bodies), peer.connections) == (1, 1, 1)


async def test_peer_that_wants_data_after_it_refused_the_sender_gets_none(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({"mail": "550 5.7.1 no", "rcpt": "250 ok"})
    result = await make_provider(peer.port).send(make_email(), IN_TIME_S)
    assert (result.recipients[0].outcome, result.phase) == (Outcome.SUSPENDED, "mail")
    assert peer.steps[-1] == "data"
    await wait_until(lambda: peer.open_connections == 0)
    # An empty message would have gone to whom it took.
    assert (peer.empty_bodies, peer.bodies) == (0, [])


async def test_data_is_not_asked_for_where_nobody_is_left_and_commands_go_one_by_one(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({"rcpt": "550 5.1.1 no"}, ("SIZE",))
    result = await make_provider(peer.port).send(make_email(), IN_TIME_S)
    assert (result.recipients[0].outcome, result.phase) == (Outcome.REJECTED, "rcpt")
    assert "data" not in peer.steps


@pytest.mark.parametrize("offer", ["SIZE 100000", "SIZE", "SIZE 0", "size 100000", "SIZE none"])
async def test_size_is_announced_where_it_is_wanted(
    offer: str, make_peer_offering: MakePeer
) -> None:
    peer = await make_peer_offering({}, (offer,))
    message = b"Subject: hi\r\n\r\n" + b"x" * 500 + b"\r\n"
    result = await hand_over(peer.port, make_email(), message, IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED
    (line,) = mail_lines(peer)
    assert line.endswith(f"> SIZE={len(message)}\r\n")


async def test_no_parameter_is_sent_that_was_not_offered(make_peer_offering: MakePeer) -> None:
    peer = await make_peer_offering({}, ())
    await hand_over(peer.port, make_email(), b"Subject: hi\r\n\r\nhi\r\n", IN_TIME_S)
    (line,) = mail_lines(peer)
    assert re.fullmatch(r"MAIL FROM:<[^ ]+>\r\n", line)


async def test_message_beyond_the_announced_size_is_refused_without_being_announced(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({}, ("SIZE 5000", "PIPELINING"))
    provider = make_provider(peer.port)
    large = await provider.send(make_email(text="x" * 6000, recipients=THREE), IN_TIME_S)
    small = await provider.send(make_email(), IN_TIME_S)
    assert {(entry.outcome, entry.enhanced_code) for entry in large.recipients} == {
        (Outcome.REJECTED, "5.3.4")
    }
    assert (large.phase, large.evidence["silence"]) == ("mail", Silence.TOO_LARGE)
    assert small.recipients[0].outcome is Outcome.ACCEPTED
    assert (peer.connections, len(mail_lines(peer))) == (1, 1)


async def test_8_bit_content_is_announced(make_peer_offering: MakePeer) -> None:
    peer = await make_peer_offering({}, ("8BITMIME",))
    result = await hand_over(peer.port, make_email(), EIGHT_BIT, IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED
    assert mail_lines(peer)[0].endswith("> BODY=8BITMIME\r\n")
    assert peer.bodies == [EIGHT_BIT + b".\r\n"]


async def test_8_bit_content_is_refused_where_the_peer_takes_none(
    make_peer_offering: MakePeer,
) -> None:
    peer = await make_peer_offering({}, ("SIZE",))
    result = await hand_over(peer.port, make_email(), EIGHT_BIT, IN_TIME_S)
    (entry,) = result.recipients
    assert (entry.outcome, entry.enhanced_code) == (Outcome.REJECTED, "5.6.3")
    assert (result.phase, result.evidence["silence"]) == ("mail", Silence.MISSING)
    assert mail_lines(peer) == []


async def test_address_outside_ascii_is_sent_where_the_peer_takes_it(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({}, ("SMTPUTF8", "PIPELINING"))
    provider = make_provider(peer.port)
    recipients = (make_recipient("jürgen@example.net"), make_recipient("bob@example.net"))
    mixed = await provider.send(make_email(recipients=recipients), IN_TIME_S)
    plain = await provider.send(make_email(recipients=recipients[1:]), IN_TIME_S)
    assert {entry.outcome for entry in (*mixed.recipients, *plain.recipients)} == {Outcome.ACCEPTED}
    first, second = mail_lines(peer)
    assert first.endswith("> SMTPUTF8\r\n")
    assert not second.endswith("SMTPUTF8\r\n")
    assert "RCPT TO:<jürgen@example.net>\r\n".encode() in peer.lines


async def test_only_the_address_outside_ascii_is_refused_where_the_peer_takes_none(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({})
    recipients = (make_recipient("jürgen@example.net"), make_recipient("bob@example.net"))
    result = await make_provider(peer.port).send(make_email(recipients=recipients), IN_TIME_S)
    assert [(entry.outcome, entry.enhanced_code) for entry in result.recipients] == [
        (Outcome.REJECTED, "5.6.7"),
        (Outcome.ACCEPTED, "2.0.0"),
    ]
    assert peer.received.isascii()


async def test_peer_that_knows_only_helo_is_spoken_to_in_the_old_way(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({"hello": "502 5.5.1 what?"})
    result = await make_provider(peer.port).send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED
    assert [line[:4] for line in peer.lines[:2]] == [b"EHLO", b"HELO"]
    assert re.fullmatch(r"MAIL FROM:<[^ ]+>\r\n", mail_lines(peer)[0])


@pytest.mark.parametrize(
    ("refusal", "login"),
    [("502 5.5.1 what?", ("a", "b")), ("550 5.7.1 not you", None), ("421 4.3.2 closing", None)],
)
async def test_helo_is_not_tried_where_it_cannot_help(
    refusal: str,
    login: tuple[str, str] | None,
    make_peer_offering: MakePeer,
    make_provider: MakeProvider,
) -> None:
    peer = await make_peer_offering({"hello": refusal})
    result = await make_provider(peer.port, login=login).send(make_email(), IN_TIME_S)
    assert (result.recipients[0].outcome, result.phase) == (Outcome.UNAVAILABLE, "hello")
    assert [line[:4] for line in peer.lines] == [b"EHLO"]


@pytest.mark.parametrize("offer", [NOT_OFFERED, "AUTH GSSAPI XOAUTH2"])
async def test_login_that_the_peer_does_not_offer_is_our_account_s_fault(
    offer: str, make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await (
        make_peer_offering({"auth": NOT_OFFERED})
        if offer == NOT_OFFERED
        else make_peer_offering({}, (offer,))
    )
    result = await make_provider(peer.port, login=("a", "b")).send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.SUSPENDED
    assert (result.phase, result.evidence["silence"]) == ("auth", Silence.MISSING)
    assert "auth" not in peer.steps


async def test_mechanism_that_the_peer_does_not_want_after_all_gives_way_to_the_next(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering(
        {"auth": ["504 5.5.4 not that", "535 5.7.8 wrong"]}, ("AUTH PLAIN CRAM-MD5 LOGIN",)
    )
    result = await make_provider(peer.port, login=("a", "b")).send(make_email(), IN_TIME_S)
    assert (result.recipients[0].outcome, result.recipients[0].reply_code) == (
        Outcome.SUSPENDED,
        535,
    )
    tried = [line.split()[1] for line in peer.lines if line.startswith(b"AUTH")]
    assert tried == [b"CRAM-MD5", b"PLAIN"]


async def test_old_way_to_offer_a_login_is_understood(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({}, ("AUTH=PLAIN",))
    result = await make_provider(peer.port, login=("a", "b")).send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED


async def test_challenge_that_is_no_base64_is_garbage(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({"auth": "334 <not base64>"}, ("AUTH CRAM-MD5",))
    result = await make_provider(peer.port, login=("a", "b")).send(make_email(), IN_TIME_S)
    assert (result.recipients[0].outcome, result.phase) == (Outcome.UNAVAILABLE, "auth")
    assert result.evidence["silence"] == Silence.GARBAGE
