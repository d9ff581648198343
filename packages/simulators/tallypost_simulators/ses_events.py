"""Events of messages, in the JSON that SES publishes to SNS.

Source: "Contents of event data that Amazon SES publishes to Amazon SNS" in the developer guide.
"""

import datetime as dt
import email
import uuid
from collections.abc import Callable, Sequence
from email.message import Message
from email.utils import formataddr, getaddresses
from typing import Literal

from tallypost_simulators.ses_messages import TakenMessage

EventType = Literal["Send", "Delivery", "Bounce", "Complaint", "Reject", "DeliveryDelay"]

_SUPPRESSED = "OnAccountSuppressionList"

MATCHING_TYPES: dict[EventType, str] = {
    "Send": "SEND",
    "Delivery": "DELIVERY",
    "Bounce": "BOUNCE",
    "Complaint": "COMPLAINT",
    "Reject": "REJECT",
    "DeliveryDelay": "DELIVERY_DELAY",
}
"""How an event destination names each type."""


def describe_event(
    event_type: EventType,
    message: TakenMessage,
    recipients: Sequence[str],
    at: dt.datetime,
    account_id: str,
    bounce_sub_type: str = "General",
) -> dict[str, object]:
    """One event about some of the recipients of a message."""
    key = {"DeliveryDelay": "deliveryDelay"}.get(event_type, event_type.lower())
    details = _DETAILS[event_type](recipients, _stamp(at))
    if event_type == "Bounce":
        details["bounceSubType"] = bounce_sub_type
    return {
        "eventType": event_type,
        "mail": _describe_mail(message, account_id),
        key: details,
    }


def describe_suppressed(
    message: TakenMessage, recipients: Sequence[str], at: dt.datetime, account_id: str
) -> dict[str, object]:
    """The bounce of recipients on the account's suppression list, to whom nothing is sent."""
    return describe_event("Bounce", message, recipients, at, account_id, _SUPPRESSED)


def _describe_mail(message: TakenMessage, account_id: str) -> dict[str, object]:
    parsed = email.message_from_bytes(message.as_delivered())
    identity = message.sender.rpartition("@")[2]
    tags = {name: [value] for name, value in message.tags.items()}
    tags["ses:from-domain"] = [identity]
    if message.configuration_set is not None:
        tags["ses:configuration-set"] = [message.configuration_set]
    return {
        "timestamp": _stamp(message.taken_at),
        "source": message.sender,
        "sourceArn": f"arn:aws:ses:{message.region}:{account_id}:identity/{identity}",
        "sendingAccountId": account_id,
        "messageId": message.message_id,
        "destination": list(message.recipients),
        "headersTruncated": False,
        "headers": [{"name": name, "value": str(value)} for name, value in parsed.items()],
        "commonHeaders": {
            "from": _list_mailboxes(parsed, "From"),
            "date": str(parsed["Date"]),
            "to": _list_mailboxes(parsed, "To"),
            "messageId": message.message_id,
            "subject": str(parsed["Subject"]),
        },
        "tags": tags,
    }


def _list_mailboxes(message: Message, name: str) -> list[str]:
    """One text for each mailbox of a field, with its name where it has one."""
    values = [str(value) for value in message.get_all(name, [])]
    return [formataddr(pair) for pair in getaddresses(values)]


def _delivery(recipients: Sequence[str], at: str) -> dict[str, object]:
    return {
        "timestamp": at,
        "processingTimeMillis": 546,
        "recipients": list(recipients),
        "smtpResponse": "250 2.6.0 Message received",
        "reportingMTA": "mta.example.com",
    }


def _bounce(recipients: Sequence[str], at: str) -> dict[str, object]:
    return {
        "bounceType": "Permanent",
        "bouncedRecipients": [
            {
                "emailAddress": address,
                "action": "failed",
                "status": "5.1.1",
                "diagnosticCode": "smtp; 550 5.1.1 user unknown",
            }
            for address in recipients
        ],
        "timestamp": at,
        "feedbackId": f"{uuid.uuid4()}-000000",
        "reportingMTA": "dsn; mta.example.com",
    }


def _complaint(recipients: Sequence[str], at: str) -> dict[str, object]:
    return {
        "complainedRecipients": [{"emailAddress": address} for address in recipients],
        "timestamp": at,
        "feedbackId": f"{uuid.uuid4()}-000000",
        "userAgent": "Simulator/1.0",
        "complaintFeedbackType": "abuse",
        "arrivalDate": at,
    }


def _delay(recipients: Sequence[str], at: str) -> dict[str, object]:
    return {
        "timestamp": at,
        "delayType": "TransientCommunicationFailure",
        "expirationTime": at,
        "delayedRecipients": [
            {
                "emailAddress": address,
                "status": "4.4.1",
                "diagnosticCode": "smtp; 421 4.4.1 Unable to connect to remote host",
            }
            for address in recipients
        ],
    }


def _send(recipients: Sequence[str], at: str) -> dict[str, object]:
    return {}


def _reject(recipients: Sequence[str], at: str) -> dict[str, object]:
    return {"reason": "Bad content"}


_DETAILS: dict[EventType, Callable[[Sequence[str], str], dict[str, object]]] = {
    "Send": _send,
    "Delivery": _delivery,
    "Bounce": _bounce,
    "Complaint": _complaint,
    "Reject": _reject,
    "DeliveryDelay": _delay,
}


def _stamp(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
