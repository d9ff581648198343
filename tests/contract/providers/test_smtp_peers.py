"""The SMTP provider against servers that nobody here wrote: aiosmtpd and Postfix's smtp-sink."""

import asyncio
import email
import email.policy
from pathlib import Path

import pytest

from tallypost_providers.message import render
from tallypost_providers.types import Attachment, Outcome
from tests.contract.providers.conftest import MakeProvider
from tests.support.smtp_peers import (
    AiosmtpdPeer,
    Certificate,
    Security,
    find_postfix_sink,
    postfix_sink,
)
from tests.unit.providers.dkim_judge import verifies
from tests.unit.providers.emails import make_dkim_key, make_email, make_recipient

# aiosmtpd says so where TLS is there from the first byte, which it cannot see.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

IN_TIME_S = 10.0
LOGIN = ("relay-user", "relay-password")
ENCRYPTED = pytest.mark.parametrize("security", ["starttls", "tls"])
POSTFIX = pytest.mark.skipif(
    find_postfix_sink() is None, reason="smtp-sink is not installed (apt-get install postfix)"
)


@ENCRYPTED
async def test_email_arrives_unchanged_over_tls_with_a_login(
    security: Security,
    trusted_certificate: Certificate,
    make_provider: MakeProvider,
) -> None:
    email_ = make_email(
        html="<p>👋",
        text=".\r\n..\r\n",
        dkim_keys=(make_dkim_key("rsa-sha256"),),
        recipients=(make_recipient("ada@example.net"), make_recipient("eve@hidden.test", "bcc")),
    )
    async with AiosmtpdPeer().running(trusted_certificate, security) as peer:
        provider = make_provider(peer.port, security=security, login=LOGIN)
        results = [await provider.send(email_, IN_TIME_S) for _ in range(2)]
        await provider.close()
    for result, envelope in zip(results, peer.envelopes, strict=True):
        assert [entry.outcome for entry in result.recipients] == [Outcome.ACCEPTED] * 2
        assert result.provider_message_id == "A1B2"
        assert envelope.content == render(email_)
        assert envelope.mail_from == email_.envelope_sender
        assert envelope.rcpt_tos == ["ada@example.net", "eve@hidden.test"]


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_every_mechanism_logs_in_and_a_wrong_password_stays_secret_and_is_tried_once(
    security: Security,
    mechanism: str,
    trusted_certificate: Certificate,
    make_provider: MakeProvider,
) -> None:
    async with AiosmtpdPeer(mechanisms=[mechanism]).running(trusted_certificate, security) as peer:
        provider = make_provider(peer.port, security=security, login=LOGIN)
        right = await provider.send(make_email(), IN_TIME_S)
        provider = make_provider(peer.port, security=security, login=("relay-user", "wr0ng"))
        wrong = await provider.send(make_email(), IN_TIME_S)
    assert right.recipients[0].outcome is Outcome.ACCEPTED
    (entry,) = wrong.recipients
    assert (entry.outcome, entry.reply_code) == (Outcome.SUSPENDED, 535)
    assert "wr0ng" not in repr(wrong)
    assert (len(peer.envelopes), peer.logins) == (1, [mechanism] * 2)


@pytest.mark.parametrize(
    ("security", "best"), [("none", "CRAM-MD5"), ("starttls", "PLAIN"), ("tls", "PLAIN")]
)
async def test_best_mechanism_of_those_offered_is_taken(
    security: Security,
    best: str,
    trusted_certificate: Certificate,
    make_provider: MakeProvider,
) -> None:
    offered = ("LOGIN", "CRAM-MD5", "PLAIN")
    async with AiosmtpdPeer(mechanisms=offered).running(trusted_certificate, security) as peer:
        provider = make_provider(peer.port, security=security, login=LOGIN)
        result = await provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED
    assert peer.logins == [best]


async def test_address_outside_ascii_reaches_a_peer_that_takes_it(
    trusted_certificate: Certificate, make_provider: MakeProvider
) -> None:
    async with AiosmtpdPeer().running(trusted_certificate, "starttls") as peer:
        provider = make_provider(peer.port, security="starttls", login=LOGIN)
        email_ = make_email(recipients=(make_recipient("jürgen@example.net"),))
        result = await provider.send(email_, IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.ACCEPTED
    (envelope,) = peer.envelopes
    assert envelope.smtp_utf8
    assert envelope.rcpt_tos == ["jürgen@example.net"]


@ENCRYPTED
async def test_certificate_that_nobody_vouches_for_gets_nothing(
    security: Security, certificate: Certificate, make_provider: MakeProvider
) -> None:
    async with AiosmtpdPeer().running(certificate, security) as peer:
        provider = make_provider(peer.port, security=security, login=LOGIN)
        result = await provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.UNAVAILABLE
    assert (result.phase, result.evidence["silence"]) == ("tls", "untrusted")
    assert peer.envelopes == []


async def test_only_the_refused_recipients_are_refused(
    trusted_certificate: Certificate, make_provider: MakeProvider
) -> None:
    refused = {
        "gone@example.net": "550 5.1.1 no such user",
        "full@example.net": "452 4.2.2 mailbox full",
    }
    recipients = tuple(
        make_recipient(address)
        for address in ("ada@example.net", "gone@example.net", "full@example.net")
    )
    async with AiosmtpdPeer(refused).running(trusted_certificate, "starttls") as peer:
        provider = make_provider(peer.port, security="starttls", login=LOGIN)
        result = await provider.send(make_email(recipients=recipients), IN_TIME_S)
    assert [(entry.outcome, entry.enhanced_code) for entry in result.recipients] == [
        (Outcome.ACCEPTED, "2.0.0"),
        (Outcome.REJECTED, "5.1.1"),
        (Outcome.DEFERRED, "4.2.2"),
    ]
    assert [envelope.rcpt_tos for envelope in peer.envelopes] == [["ada@example.net"]]


@POSTFIX
async def test_postfix_sink_takes_every_shape_of_email_once(
    tmp_path: Path, make_provider: MakeProvider
) -> None:
    emails = [
        make_email(
            subject=f"Nr {number} שלום 🎉",
            html="<p>é</p>" * 500,
            text=".\n" * number,
            dkim_keys=(make_dkim_key("rsa-sha256"), make_dkim_key("ed25519-sha256")),
            attachments=(
                Attachment(filename="ü.bin", content_type="a/b", body=bytes(number * 20_000)),
            ),
        )
        for number in range(25)
    ]
    with postfix_sink(tmp_path) as port:
        provider = make_provider(port, connections=5)
        results = await asyncio.gather(*(provider.send(item, IN_TIME_S) for item in emails))
        await provider.close()
    assert {entry.outcome for result in results for entry in result.recipients} == {
        Outcome.ACCEPTED
    }
    messages = read_dumps(tmp_path)
    assert all(verifies(message, index) for message in messages for index in (0, 1))
    arrived = [
        email.message_from_bytes(message, policy=email.policy.default)["X-Tallypost-Email-Id"]
        for message in messages
    ]
    assert sorted(arrived) == sorted(str(item.email_id) for item in emails)


def read_dumps(folder: Path) -> list[bytes]:
    """The messages that smtp-sink wrote, without the lines that it adds around each."""
    dumps = [dump.read_bytes().replace(b"\n", b"\r\n") for dump in folder.glob("mail.*")]
    return [dump[dump.index(b"DKIM-Signature:") :].removesuffix(b"\r\n") for dump in dumps]


@POSTFIX
@pytest.mark.parametrize(
    ("options", "outcome", "phase"),
    [
        (("-r", "rcpt"), Outcome.DEFERRED, "rcpt"),
        (("-f", "rcpt", "-B", "550 5.1.1 no such user"), Outcome.REJECTED, "rcpt"),
        (("-f", "mail", "-B", "530 5.7.0 login first"), Outcome.SUSPENDED, "mail"),
        (("-r", "mail", "-b", "450 4.7.1 too much mail"), Outcome.THROTTLED, "mail"),
        (("-r", "."), Outcome.UNAVAILABLE, "final"),
        (("-f", ".", "-B", "554 5.7.1 spam"), Outcome.REJECTED, "final"),
        (("-q", "."), Outcome.AMBIGUOUS, "final"),
        (("-q", "data"), Outcome.UNAVAILABLE, "data"),
        (("-Q", "rcpt"), Outcome.UNAVAILABLE, "rcpt"),
        (("-q", "connect"), Outcome.UNAVAILABLE, "connect"),
    ],
    ids=str,
)
async def test_postfix_sink_that_fails_is_understood(
    options: tuple[str, ...],
    outcome: Outcome,
    phase: str,
    tmp_path: Path,
    make_provider: MakeProvider,
) -> None:
    with postfix_sink(tmp_path, *options) as port:
        result = await make_provider(port).send(make_email(), IN_TIME_S)
    assert (result.recipients[0].outcome, result.phase) == (outcome, phase)
