"""Messages to the simulated SES by Amazon's own SDK: taken, refused, delivered."""

import email
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from tallypost_simulators.keeping import MessageRefused, OutcomeUnknown
from tallypost_simulators.ses_messages import TakenMessage
from tallypost_simulators.ses_simulator import SESSimulator
from tests.support.ses_client import DOMAIN, RAW, SESClient, message


async def test_raw_message_is_taken_as_it_is_with_its_envelope_and_tags(
    ses: SESSimulator, client: SESClient
) -> None:
    answer = await client(
        "send_email",
        **message(
            Destination={
                "ToAddresses": ["Ada <ada@example.net>"],
                "CcAddresses": ["bob@example.net"],
                "BccAddresses": ["eve@hidden.test"],
            },
            EmailTags=[{"Name": "campaign", "Value": "spring"}],
        ),
    )
    (taken,) = ses.messages
    assert answer == {"MessageId": taken.message_id}
    assert taken.raw == RAW
    assert taken.recipients == ("ada@example.net", "bob@example.net", "eve@hidden.test")
    assert taken.tags == {"campaign": "spring"}
    assert taken.sender == f"hello@{DOMAIN}"


async def test_message_is_delivered_with_a_message_id_and_date_of_ses(
    ses: SESSimulator, client: SESClient
) -> None:
    ours = b"Message-ID: <ours@news.example.com>\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\n"
    await client("send_email", **message(Content={"Raw": {"Data": ours + RAW}}))
    (taken,) = ses.messages
    delivered = email.message_from_bytes(taken.as_delivered())
    assert delivered.get_all("Message-ID") == [f"<{taken.message_id}@eu-west-1.amazonses.com>"]
    assert len(delivered.get_all("Date", [])) == 1
    assert "1970" not in str(delivered["Date"])
    assert delivered.get_payload() == "Hello.\r\n"


async def test_simple_message_is_put_together(ses: SESSimulator, client: SESClient) -> None:
    body = {"Text": {"Data": "plain"}, "Html": {"Data": "<p>rich"}}
    await client(
        "send_email",
        **message(
            FromEmailAddress=f"Hello <hello@{DOMAIN}>",
            Content={"Simple": {"Subject": {"Data": "Grüße"}, "Body": body}},
        ),
    )
    (taken,) = ses.messages
    written = email.message_from_bytes(taken.raw, policy=email.policy.default)
    assert isinstance(written, EmailMessage)
    assert written["Subject"] == "Grüße"
    rich = written.get_body(("html",))
    assert rich is not None
    assert rich.get_content().strip() == "<p>rich"


async def test_raw_message_without_destination_goes_to_whom_it_names(
    ses: SESSimulator, client: SESClient
) -> None:
    await client("send_email", **message(Destination=None))
    assert ses.messages[0].recipients == ("ada@example.net",)


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"Content": {}}, "BadRequestException", "Exactly one"),
        ({"Content": {"Raw": {"Data": b"no head"}}}, "BadRequestException", "blank line"),
        (
            {"Content": {"Raw": {"Data": RAW.replace(b"Hello", b"x" * 1001)}}},
            "BadRequestException",
            "1000",
        ),
        ({"Content": {"Raw": {"Data": b"Subject: 1\r\n" + RAW}}}, "BadRequestException", "subject"),
        ({"Content": {"Template": {"TemplateName": "x"}}}, "NotFoundException", "Template"),
        ({"Destination": {}}, "BadRequestException", "To"),
        (
            {"Destination": {"ToAddresses": [f"r{n}@example.net" for n in range(51)]}},
            "BadRequestException",
            "50",
        ),
        ({"Destination": {"ToAddresses": ["δ@example.net"]}}, "BadRequestException", "Local"),
        ({"Destination": {"ToAddresses": ["nobody"]}}, "BadRequestException", "domain"),
        ({"Destination": {"ToAddresses": ["a@b_c.net"]}}, "BadRequestException", "Domain"),
        ({"EmailTags": [{"Name": "a b", "Value": "c"}]}, "BadRequestException", "tag"),
        ({"ConfigurationSetName": "none"}, "NotFoundException", "does not exist"),
        ({"TenantName": "none"}, "NotFoundException", "does not exist"),
        ({"FromEmailAddress": "hello@elsewhere.test"}, "MessageRejected", "EU-WEST-1: hello@else"),
    ],
)
async def test_message_that_ses_does_not_take_is_refused_in_its_words(
    ses: SESSimulator, client: SESClient, changes: dict[str, Any], name: str, words: str
) -> None:
    status, code, text = await client.refused_send(**changes)
    assert (status, code) == (404 if name == "NotFoundException" else 400, name)
    assert words in text
    assert ses.messages == []


async def test_message_over_the_limit_is_refused(ses: SESSimulator, client: SESClient) -> None:
    large = RAW + (b"x" * 76 + b"\r\n") * (41 * 1024 * 1024 // 78)
    _, code, text = await client.refused_send(Content={"Raw": {"Data": large}})
    assert (code, "41943040" in text) == ("BadRequestException", True)


async def test_attachment_of_a_forbidden_kind_is_refused(client: SESClient) -> None:
    written = EmailMessage(policy=email.policy.SMTP)
    written["From"], written["To"] = f"hello@{DOMAIN}", "ada@example.net"
    written.set_content("see")
    written.add_attachment(b"MZ", maintype="application", subtype="octet-stream", filename="a.exe")
    _, _, text = await client.refused_send(Content={"Raw": {"Data": written.as_bytes()}})
    assert "a.exe" in text


async def test_sub_domain_of_a_verified_domain_may_send(
    ses: SESSimulator, client: SESClient
) -> None:
    await client("send_email", **message(FromEmailAddress=f"a@sub.{DOMAIN}"))
    assert len(ses.messages) == 1


@pytest.mark.parametrize(
    ("raised", "refusal"),
    [
        (MessageRefused("not here"), (400, "MessageRejected", "not here")),
        (ConnectionError("hidden"), (503, "ServiceUnavailable", "The message was not stored.")),
    ],
)
async def test_message_that_is_not_kept_is_not_acknowledged(
    raised: Exception, refusal: tuple[int, str, str]
) -> None:
    async with keeping(raised) as client:
        assert await client.refused_send() == refusal


async def test_message_that_may_be_kept_gets_no_answer() -> None:
    async with keeping(OutcomeUnknown()) as client:
        with pytest.raises(ConnectionClosedError):
            await client("send_email", **message())


@asynccontextmanager
async def keeping(raised: Exception) -> AsyncIterator[SESClient]:
    """A client of an SES whose messages are kept by somebody who cannot."""

    async def keep(taken: TakenMessage) -> None:
        assert taken.raw == RAW
        raise raised

    async with SESSimulator(on_message=keep) as ses:
        ses.account.add_domain(DOMAIN)
        client = SESClient(ses.url)
        yield client
        client.close()
