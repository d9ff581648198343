"""Asks SendGrid's Email Activity Feed whether a message was taken.

The feed is an add-on that is paid for, allows 6 requests a minute and does not cover EU regional
subusers (twilio.com/docs/sendgrid/api-reference/email-activity). It knows messages by their custom
arguments, which it still calls unique arguments.
"""

from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from tallypost_core.clock import utc_now
from tallypost_providers.base import clip
from tallypost_providers.errors import LookUpFailed, LookUpRefused
from tallypost_providers.look_ups import FoundMessage
from tallypost_providers.sendgrid_api import SendGridAPI
from tallypost_providers.sendgrid_failures import EGRESS_ERRORS, read_answer
from tallypost_providers.sendgrid_mail import EMAIL_ID_ARG
from tallypost_resilience.deadline import Deadline

# The most that one answer may have, and the most recipients that one email may have.
_MAX_MESSAGES: Final = 1000
_REFUSALS: Final = frozenset({400, 401, 403, 404, 405})


class _Message(Struct):
    msg_id: str
    to_email: str
    status: str


class _Messages(Struct):
    messages: list[_Message]


async def find_messages(
    api: SendGridAPI, email_id: UUID, deadline: Deadline
) -> tuple[FoundMessage, ...]:
    """The messages that SendGrid made of an email, one for each recipient.

    An id is `X-Message-Id` and a suffix of the recipient's own; a status is `processed`,
    `delivered` or `not_delivered`. Raises LookUpRefused and LookUpFailed.
    """
    query = f"unique_args['{EMAIL_ID_ARG}']=\"{email_id}\""
    try:
        response = await api.fetch(
            "GET",
            "/v3/messages",
            query={"limit": str(_MAX_MESSAGES), "query": query},
            deadline=deadline,
        )
    except EGRESS_ERRORS as error:
        raise LookUpFailed from error
    if response.status != 200:
        answer = read_answer(response, utc_now())
        # No add-on, no scope, or no such query: by SendGrid's own words, and a person's to mend.
        is_refused = answer.is_documented and answer.status in _REFUSALS
        raise (LookUpRefused if is_refused else LookUpFailed)(
            f"SendGrid's activity feed answered with status {answer.status}.",
            retry_after_s=answer.retry_after_s,
        )
    try:
        found = msgspec.json.decode(response.body, type=_Messages)
    except msgspec.MsgspecError as error:
        raise LookUpFailed("SendGrid's activity feed made no sense.") from error
    return tuple(
        FoundMessage(item.to_email, clip(item.msg_id), clip(item.status)) for item in found.messages
    )
