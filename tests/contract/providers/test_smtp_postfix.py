"""The SMTP provider against a real Postfix, which relays what it took to the sink."""

import asyncio

import pytest

from tallypost_providers.message import render
from tallypost_providers.smtp_failures import Silence
from tallypost_providers.types import Attachment, Outcome
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tests.contract.providers.conftest import MakeProvider
from tests.support.smtp_peers import Certificate, wait_until
from tests.support.smtp_postfix import postfix, why_no_postfix
from tests.unit.providers.dkim_judge import verifies
from tests.unit.providers.emails import make_dkim_key, make_email, make_recipient

pytestmark = pytest.mark.skipif(why_no_postfix() is not None, reason=why_no_postfix() or "")

IN_TIME_S = 20.0
LOGIN = ("relay-user", "relay-password")
REFUSED = {
    "gone@example.net": "550 5.1.1 no such user",
    "full@example.net": "452 4.2.2 mailbox full",
}


class Mailbox:
    """Keeps what Postfix hands on."""

    def __init__(self) -> None:
        self.messages: list[ReceivedMessage] = []

    async def keep(self, message: ReceivedMessage) -> None:
        """The sink's callback."""
        self.messages.append(message)


# Postfix takes a while to start, and the plain loop has enough other peers.
@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_emails_arrive_unchanged_by_both_ways_to_tls_and_every_mechanism(
    mechanism: str, trusted_certificate: Certificate, make_provider: MakeProvider
) -> None:
    emails = [
        make_email(
            subject=f"Nr {number} שלום",
            html="<p>é</p>\r\n.\r\n" * 50,
            text=".\n..\n" * number,
            dkim_keys=(make_dkim_key("rsa-sha256"),),
            attachments=(
                Attachment(filename="a.bin", content_type="a/b", body=bytes(number * 200_000)),
            ),
        )
        for number in range(6)
    ]
    mailbox = Mailbox()
    async with (
        SMTPSink(mailbox.keep) as sink,
        postfix(trusted_certificate, sink.port, login=LOGIN, mechanisms=(mechanism,)) as ports,
    ):
        providers = (
            make_provider(ports.plain, security="starttls", login=LOGIN),
            make_provider(ports.tls, security="tls", login=LOGIN),
        )
        results = await asyncio.gather(
            *(providers[place % 2].send(email, IN_TIME_S) for place, email in enumerate(emails))
        )
        for provider in providers:
            await provider.close()
        await wait_until(lambda: len(mailbox.messages) == len(emails))
    assert [result.recipients[0].outcome for result in results] == [Outcome.ACCEPTED] * 6
    assert all(result.provider_message_id for result in results)
    arrived = {message.email_id: message for message in mailbox.messages}
    for email in emails:
        message = arrived[str(email.email_id)]
        assert message.envelope_sender == email.envelope_sender
        # Postfix puts its Received before what came.
        assert message.body.endswith(render(email))
        assert verifies(message.body, 0)


async def test_wrong_password_suspends_the_account(
    trusted_certificate: Certificate, make_provider: MakeProvider
) -> None:
    async with postfix(trusted_certificate, 9, login=LOGIN) as ports:
        provider = make_provider(ports.plain, security="starttls", login=("relay-user", "wr0ng"))
        result = await provider.send(make_email(), IN_TIME_S)
    (entry,) = result.recipients
    assert (entry.outcome, entry.reply_code, result.phase) == (Outcome.SUSPENDED, 535, "auth")
    assert "wr0ng" not in repr(result)


async def test_refusals_are_understood_and_keep_the_connection(
    trusted_certificate: Certificate, make_provider: MakeProvider
) -> None:
    gone, full, ada, jurgen = (
        make_recipient(f"{name}@example.net") for name in ("gone", "full", "ada", "jürgen")
    )
    mailbox = Mailbox()
    async with (
        SMTPSink(mailbox.keep) as sink,
        postfix(
            trusted_certificate,
            sink.port,
            login=LOGIN,
            refused=REFUSED,
            size_limit_bytes=30_000,
        ) as ports,
    ):
        provider = make_provider(ports.plain, security="starttls", login=LOGIN, connections=1)
        nobody = await provider.send(make_email(recipients=(gone, full)), IN_TIME_S)
        large = await provider.send(make_email(text="x" * 40_000), IN_TIME_S)
        some = await provider.send(make_email(recipients=(gone, ada, full, jurgen)), IN_TIME_S)
        await provider.close()
        await wait_until(lambda: bool(mailbox.messages))
    assert [entry.outcome for entry in nobody.recipients] == [Outcome.REJECTED, Outcome.DEFERRED]
    assert (large.recipients[0].outcome, large.evidence["silence"]) == (
        Outcome.REJECTED,
        Silence.TOO_LARGE,
    )
    assert [entry.outcome for entry in some.recipients] == [
        Outcome.REJECTED,
        Outcome.ACCEPTED,
        Outcome.DEFERRED,
        Outcome.ACCEPTED,
    ]
    assert [result.evidence["connection"] for result in (nobody, large, some)] == [
        "new",
        "kept",
        "kept",
    ]
    assert {address for message in mailbox.messages for address in message.recipients} == {
        "ada@example.net",
        "jürgen@example.net",
    }
