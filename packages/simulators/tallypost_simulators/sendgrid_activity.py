"""The Email Activity Feed of a simulated SendGrid account."""

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Final

from tallypost_simulators.sendgrid_account import TakenMail
from tallypost_simulators.sendgrid_errors import FieldError, bad_request
from tallypost_simulators.sendgrid_events import Event

# A condition of the feed's query language, of which this is all that is understood here.
_CONDITION = re.compile(r"""\(?(\w+)(?:\['([^']+)'\])?\s*=\s*"([^"]*)"\)?""")
_STATUSES: Final = {"delivered": "delivered", "bounce": "not_delivered", "dropped": "not_delivered"}


def find_messages(
    query: str, limit: int, messages: Sequence[TakenMail], events: Sequence[Event]
) -> list[dict[str, object]]:
    """What GET /v3/messages shows; raises SendGridError for a query that is not understood."""
    fits = _read(query)
    if not 1 <= limit <= 1000:
        raise bad_request([FieldError("limit must be between 1 and 1000", "limit")])
    statuses = {event["sg_message_id"]: str(event["event"]) for event in events}
    found = [
        _show(mail, address, statuses.get(mail.message_id_of(address), ""))
        for mail in messages
        for address in mail.recipients
        if fits(mail, address)
    ]
    return found[:limit]


def _read(query: str) -> Callable[[TakenMail, str], bool]:
    condition = _CONDITION.fullmatch(query.strip())
    if condition is None:
        raise bad_request([FieldError(f"invalid syntax: '{query}'", "query")])
    field, key, value = condition.groups()
    if field == "unique_args" and key:
        return lambda mail, address: mail.custom_args.get(key) == value
    if field == "to_email":
        return lambda mail, address: address == value
    if field == "msg_id":
        return lambda mail, address: mail.message_id_of(address) == value
    raise bad_request([FieldError(f"invalid syntax: '{field}' is not a known field", "query")])


def _show(mail: TakenMail, address: str, kind: str) -> dict[str, object]:
    taken_at = dt.datetime.fromtimestamp(mail.taken_at_s, dt.UTC)
    return {
        "from_email": mail.fields["from"]["email"],
        "msg_id": mail.message_id_of(address),
        "subject": mail.fields.get("subject", ""),
        "to_email": address,
        "status": _STATUSES.get(kind, "processed"),
        "opens_count": 0,
        "clicks_count": 0,
        "last_event_time": taken_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
