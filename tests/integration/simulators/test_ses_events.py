"""Events of the simulated SES as a subscriber of SNS gets them, signatures verified."""

import base64
import json
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tallypost_simulators.ses_account import ConfigurationSet, EventDestination
from tallypost_simulators.ses_events import MATCHING_TYPES
from tallypost_simulators.ses_simulator import SESSimulator
from tallypost_simulators.sns_topics import SignatureVersion
from tests.support.ses_client import DOMAIN, RAW, SESClient, message

TOPIC = "arn:aws:sns:eu-west-1:123456789012:events"
NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
CONFIRMATION = (
    "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
)  # fmt: skip
ALL = [*MATCHING_TYPES.values()]


class Subscriber:
    """A web hook that keeps what SNS posts."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], dict[str, str]]] = []
        self.status = 200
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        """Keep headers and body of one post."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.posts.append((headers, json.loads(await request.text())))
        return web.Response(status=self.status)

    def events(self) -> list[dict[str, Any]]:
        """The events in the notifications so far."""
        return [
            json.loads(body["Message"]) for _, body in self.posts if body["Type"] == "Notification"
        ]


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    """A running web hook."""
    hook = Subscriber()
    app = web.Application()
    app.add_routes([web.post("/hook", hook.take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield hook
    await runner.cleanup()


@pytest.fixture
async def ses() -> AsyncIterator[SESSimulator]:
    """SES whose configuration set `main` reports everything to TOPIC."""
    async with SESSimulator() as simulator:
        simulator.account.add_domain(DOMAIN)
        simulator.account.configuration_sets["main"] = ConfigurationSet(
            name="main",
            destinations={"sns": EventDestination(name="sns", topic_arn=TOPIC, event_types=ALL)},
        )
        yield simulator


async def subscribe(ses: SESSimulator, hook: Subscriber, version: SignatureVersion = "1") -> None:
    await ses.topics.subscribe(TOPIC, hook.url, version)
    _, body = hook.posts[-1]
    await confirm(body)


async def confirm(body: dict[str, str]) -> None:
    async with aiohttp.ClientSession() as browser, browser.get(body["SubscribeURL"]) as answer:
        assert answer.status == 200


async def send(ses: SESSimulator, *recipients: str) -> None:
    client = SESClient(ses.url)
    await client(
        "send_email",
        **message(
            ConfigurationSetName="main",
            Destination={"ToAddresses": list(recipients)},
            EmailTags=[{"Name": "email_id", "Value": "42"}],
        ),
    )
    client.close()
    await ses.settle()


async def verify(body: dict[str, str], names: tuple[str, ...]) -> None:
    """Raise InvalidSignature unless the certificate at the body's address signed the body."""
    async with aiohttp.ClientSession() as browser, browser.get(body["SigningCertURL"]) as answer:
        key = x509.load_pem_x509_certificate(await answer.read()).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    text = "".join(f"{name}\n{body[name]}\n" for name in names if name in body)
    algorithm = {"1": hashes.SHA1(), "2": hashes.SHA256()}[body["SignatureVersion"]]  # noqa: S303
    key.verify(base64.b64decode(body["Signature"]), text.encode(), padding.PKCS1v15(), algorithm)


@pytest.mark.parametrize("version", ["1", "2"])
async def test_subscription_is_confirmed_before_anything_is_posted_and_all_of_it_is_signed(
    ses: SESSimulator, subscriber: Subscriber, version: SignatureVersion
) -> None:
    await ses.topics.subscribe(TOPIC, subscriber.url, version)
    await send(ses, "ada@example.net")
    ((headers, confirmation),) = subscriber.posts
    assert headers["x-amz-sns-message-type"] == confirmation["Type"] == "SubscriptionConfirmation"
    await verify(confirmation, CONFIRMATION)
    await confirm(confirmation)
    await send(ses, "ada@example.net")
    for headers, body in subscriber.posts[1:]:
        assert headers["x-amz-sns-message-type"] == body["Type"] == "Notification"
        assert headers["x-amz-sns-topic-arn"] == body["TopicArn"] == TOPIC
        assert headers["content-type"] == "text/plain; charset=UTF-8"
        assert body["SignatureVersion"] == version
        await verify(body, NOTIFICATION)
    assert [event["eventType"] for event in subscriber.events()] == ["Send", "Delivery"]


async def test_event_names_the_message_by_its_id_and_our_tags(
    ses: SESSimulator, subscriber: Subscriber
) -> None:
    await subscribe(ses, subscriber)
    await send(ses, "ada@example.net")
    (taken,) = ses.messages
    for event in subscriber.events():
        mail = event["mail"]
        assert mail["messageId"] == taken.message_id
        assert mail["destination"] == ["ada@example.net"]
        assert mail["tags"]["email_id"] == ["42"]
        assert mail["tags"]["ses:configuration-set"] == ["main"]


async def test_event_has_each_mailbox_of_the_head_and_the_date_that_ses_wrote(
    ses: SESSimulator, subscriber: Subscriber
) -> None:
    await subscribe(ses, subscriber)
    client = SESClient(ses.url)
    raw = RAW.replace(b"To: ada@example.net", b'To: "Doe, Ada" <ada@example.net>, bob@example.net')
    content = {"Raw": {"Data": raw}}
    await client("send_email", **message(ConfigurationSetName="main", Content=content))
    client.close()
    await ses.settle()
    headers = subscriber.events()[0]["mail"]["commonHeaders"]
    assert headers["from"] == [f"hello@{DOMAIN}"]
    assert headers["to"] == ['"Doe, Ada" <ada@example.net>', "bob@example.net"]
    assert parsedate_to_datetime(headers["date"]).date() == ses.messages[0].taken_at.date()


async def test_notification_says_how_to_end_its_subscription(
    ses: SESSimulator, subscriber: Subscriber
) -> None:
    other = Subscriber()
    other.url = f"{subscriber.url}?other"
    await subscribe(ses, subscriber)
    await ses.topics.subscribe(TOPIC, other.url)
    await send(ses, "ada@example.net")
    _, body = subscriber.posts[-1]
    async with aiohttp.ClientSession() as browser, browser.get(body["UnsubscribeURL"]) as answer:
        assert answer.status == 200
    assert [item.url for item in ses.topics.subscriptions] == [other.url]
    count = len(subscriber.events())
    await send(ses, "ada@example.net")
    assert len(subscriber.events()) == count


async def test_addresses_of_the_mailbox_simulator_have_their_fate(
    ses: SESSimulator, subscriber: Subscriber
) -> None:
    await subscribe(ses, subscriber)
    await send(
        ses,
        "success@simulator.amazonses.com",
        "bounce@simulator.amazonses.com",
        "complaint@simulator.amazonses.com",
    )
    events = subscriber.events()
    assert [event["eventType"] for event in events] == [
        "Send", "Delivery", "Bounce", "Delivery", "Complaint",
    ]  # fmt: skip
    assert events[2]["bounce"]["bouncedRecipients"][0]["status"] == "5.1.1"
    complained = events[4]["complaint"]["complainedRecipients"]
    assert complained == [{"emailAddress": "complaint@simulator.amazonses.com"}]


async def test_suppressed_address_bounces_though_the_message_was_taken(
    ses: SESSimulator, subscriber: Subscriber
) -> None:
    await subscribe(ses, subscriber)
    client = SESClient(ses.url)
    await client("put_suppressed_destination", EmailAddress="ada@example.net", Reason="COMPLAINT")
    client.close()
    await send(ses, "Ada@example.net")
    assert len(ses.messages) == 1
    bounce = subscriber.events()[-1]["bounce"]
    assert bounce["bounceSubType"] == "OnAccountSuppressionList"


@pytest.mark.parametrize(
    ("event_type", "key"),
    [
        ("Bounce", "bounce"),
        ("Complaint", "complaint"),
        ("Reject", "reject"),
        ("DeliveryDelay", "deliveryDelay"),
    ],
)
async def test_event_of_any_kind_may_be_published_later(
    ses: SESSimulator, subscriber: Subscriber, event_type: Any, key: str
) -> None:
    await subscribe(ses, subscriber)
    await send(ses, "ada@example.net")
    await ses.publish(event_type, ses.messages[0])
    event = subscriber.events()[-1]
    assert event["eventType"] == event_type
    assert event[key]


async def test_only_events_that_were_asked_for_are_posted(
    ses: SESSimulator, subscriber: Subscriber
) -> None:
    (destination,) = ses.account.configuration_sets["main"].destinations.values()
    destination.event_types = ["BOUNCE"]
    await subscribe(ses, subscriber)
    await send(ses, "ada@example.net", "bounce@simulator.amazonses.com")
    assert [event["eventType"] for event in subscriber.events()] == ["Bounce"]
    destination.is_enabled = False
    await send(ses, "bounce@simulator.amazonses.com")
    assert len(subscriber.events()) == 1


async def test_post_that_is_not_taken_is_kept_for_the_test_to_see(
    ses: SESSimulator, subscriber: Subscriber
) -> None:
    await subscribe(ses, subscriber)
    subscriber.status = 500
    await send(ses, "ada@example.net")
    assert [body["Type"] for body in ses.topics.refused] == ["Notification", "Notification"]
