"""Topics of Amazon SNS that post signed notifications to subscribed addresses.

Source: "Parsing message formats" and "Verifying the signatures of Amazon SNS messages" in the SNS
developer guide.
"""

import base64
import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Literal

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from msgspec import Struct

SignatureVersion = Literal["1", "2"]

_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
}  # fmt: skip
_POST_TIMEOUT = aiohttp.ClientTimeout(total=15)


class Subscription(Struct, kw_only=True):
    """One address that a topic posts to, once its owner has confirmed."""

    arn: str
    topic_arn: str
    url: str
    token: str
    signature_version: SignatureVersion
    is_confirmed: bool = False


class SNSTopics:
    """The topics of one account; `routes` are what its server answers for them."""

    def __init__(self, base_url: Callable[[], str], now: Callable[[], dt.datetime]) -> None:
        """base_url says where the certificate and confirmations are served."""
        self._base_url = base_url
        self._now = now
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = _make_certificate(self._key, now())
        self._path = f"/SimpleNotificationService-{hashlib.md5(self._certificate).hexdigest()}.pem"  # noqa: S324 -- a name like those of SNS.
        self.subscriptions: list[Subscription] = []
        self.refused: list[dict[str, object]] = []
        """What an address did not take with a 2xx; nothing is posted twice."""

    @property
    def routes(self) -> list[web.RouteDef]:
        """The certificate, and the address that confirms a subscription or ends it."""
        return [web.get(self._path, self._serve_certificate), web.get("/", self._act)]

    async def subscribe(
        self, topic_arn: str, url: str, signature_version: SignatureVersion = "1"
    ) -> Subscription:
        """Add an address and post it a SubscriptionConfirmation."""
        subscription = Subscription(
            arn=f"{topic_arn}:{uuid.uuid4()}",
            topic_arn=topic_arn,
            url=url,
            token=uuid.uuid4().hex,
            signature_version=signature_version,
        )
        self.subscriptions.append(subscription)
        await self._post(
            subscription,
            {
                "Type": "SubscriptionConfirmation",
                "MessageId": str(uuid.uuid4()),
                "Token": subscription.token,
                "TopicArn": topic_arn,
                "Message": f"You have chosen to subscribe to the topic {topic_arn}.\nTo confirm "
                "the subscription, visit the SubscribeURL included in this message.",
                "SubscribeURL": f"{self._base_url()}/?Action=ConfirmSubscription"
                f"&TopicArn={topic_arn}&Token={subscription.token}",
            },
        )
        return subscription

    async def publish(self, topic_arn: str, message: str, subject: str | None = None) -> None:
        """Post a notification to each confirmed address of a topic."""
        body = {
            "Type": "Notification",
            "MessageId": str(uuid.uuid4()),
            "TopicArn": topic_arn,
            "Message": message,
        }
        if subject is not None:
            body["Subject"] = subject
        for subscription in self.subscriptions:
            if subscription.topic_arn == topic_arn and subscription.is_confirmed:
                await self._post(subscription, body)

    async def _post(self, subscription: Subscription, fields: Mapping[str, str]) -> None:
        body = dict(fields)
        body["Timestamp"] = f"{self._now():%Y-%m-%dT%H:%M:%S}.000Z"
        body["SignatureVersion"] = subscription.signature_version
        body["Signature"] = self._sign(body, subscription.signature_version)
        body["SigningCertURL"] = f"{self._base_url()}{self._path}"
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "User-Agent": "Amazon Simple Notification Service Agent",
            "x-amz-sns-message-type": body["Type"],
            "x-amz-sns-message-id": body["MessageId"],
            "x-amz-sns-topic-arn": body["TopicArn"],
        }
        if body["Type"] == "Notification":
            # Not signed, as the guide's list of signed fields has it.
            body["UnsubscribeURL"] = (
                f"{self._base_url()}/?Action=Unsubscribe&SubscriptionArn={subscription.arn}"
            )
            headers["x-amz-sns-subscription-arn"] = subscription.arn
        if not await _is_taken(subscription.url, json.dumps(body), headers):
            self.refused.append(dict(body))

    def _sign(self, body: Mapping[str, str], version: SignatureVersion) -> str:
        text = "".join(f"{name}\n{body[name]}\n" for name in _SIGNED[body["Type"]] if name in body)
        # Version 1 is SHA-1, which is what is stood in for here.
        algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), algorithm)
        return base64.b64encode(signature).decode("ascii")

    async def _serve_certificate(self, request: web.Request) -> web.Response:
        return web.Response(body=self._certificate, content_type="application/x-pem-file")

    async def _act(self, request: web.Request) -> web.Response:
        if request.query.get("Action") == "Unsubscribe":
            return self._unsubscribe(request.query.get("SubscriptionArn", ""))
        for subscription in self.subscriptions:
            if subscription.token == request.query.get("Token"):
                subscription.is_confirmed = True
                return web.Response(
                    content_type="text/xml",
                    text="<ConfirmSubscriptionResponse><ConfirmSubscriptionResult>"
                    f"<SubscriptionArn>{subscription.arn}</SubscriptionArn>"
                    "</ConfirmSubscriptionResult></ConfirmSubscriptionResponse>",
                )
        return web.Response(status=400, text="Invalid token")

    def _unsubscribe(self, arn: str) -> web.Response:
        """What is not there is no error, as SNS documents none for it."""
        self.subscriptions = [item for item in self.subscriptions if item.arn != arn]
        return web.Response(content_type="text/xml", text="<UnsubscribeResponse/>")


async def _is_taken(url: str, body: str, headers: Mapping[str, str]) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=_POST_TIMEOUT) as client,
            client.post(url, data=body, headers=headers) as answer,
        ):
            return 200 <= answer.status < 300
    except (aiohttp.ClientError, TimeoutError):
        return False


def _make_certificate(key: rsa.RSAPrivateKey, now: dt.datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
