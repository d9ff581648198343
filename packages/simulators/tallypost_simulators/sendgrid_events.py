"""Events of a simulated SendGrid account: posted in arrays, and signed.

The fields are those of twilio.com/docs/sendgrid/for-developers/tracking-events/event, and the
signature that of its page on security features: ECDSA on P-256 over the time and the body's bytes.
"""

import base64
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import aiohttp
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tallypost_simulators.sendgrid_account import TakenMail

EventKind = Literal["processed", "delivered", "deferred", "bounce", "dropped", "spamreport"]
Event = dict[str, object]

SIGNATURE_HEADER: Final = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER: Final = "X-Twilio-Email-Event-Webhook-Timestamp"

_DETAILS: Final[dict[EventKind, Event]] = {
    "processed": {},
    "delivered": {"ip": "192.0.2.1", "response": "250 2.0.0 OK", "tls": 1},
    "deferred": {"ip": "192.0.2.1", "response": "451 4.7.1 try again later", "attempt": "1"},
    "bounce": {
        "type": "bounce",
        "status": "5.1.1",
        "reason": "550 5.1.1 no such user",
        "bounce_classification": "Invalid Address",
        "ip": "192.0.2.1",
        "tls": 1,
    },
    "dropped": {"reason": "Bounced Address", "status": "5.0.0"},
    "spamreport": {},
}


def make_event(
    mail: TakenMail, address: str, kind: EventKind, details: Mapping[str, object] | None = None
) -> Event:
    """One event about one recipient, with the custom arguments of its mail beside the rest.

    details takes the place of what the event would have of itself.
    """
    event: Event = {
        "email": address,
        "timestamp": int(time.time()),
        "event": kind,
        "sg_event_id": secrets.token_urlsafe(16),
        "sg_message_id": mail.message_id_of(address),
        **mail.custom_args,
        **(_DETAILS[kind] if details is None else details),
    }
    if kind != "spamreport":
        event["smtp-id"] = f"<{mail.message_id}@geopod-ismtpd-0>"
    return event


class SignedEvents:
    """Signs what it posts; `public_key` proves it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        """In base64, as the API shows it."""
        der = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode("ascii")

    def sign(self, events: Sequence[Event]) -> tuple[bytes, dict[str, str]]:
        """The body of a post, and its headers.

        The line end at the end is SendGrid's own: it is signed, and lost by whoever parses the body
        and writes it again.
        """
        body = b"[" + b",\r\n".join(json.dumps(event).encode() for event in events) + b"]\r\n"
        timestamp = str(int(time.time()))
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "SendGrid Event API",
            SIGNATURE_HEADER: base64.b64encode(signature).decode("ascii"),
            TIMESTAMP_HEADER: timestamp,
        }
        return body, headers

    async def post(self, url: str, events: Sequence[Event]) -> int:
        """Post events together; the status that came back."""
        body, headers = self.sign(events)
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers) as answer,
        ):
            return answer.status
