"""Checks an account at SendGrid by the scopes of its key; nothing is sent.

GET /v3/scopes (twilio.com/docs/sendgrid/api-reference/api-key-permissions) tells those of the key
that asks, and any key may ask.
"""

from typing import Final

import msgspec
from msgspec import Struct

from tallypost_core.clock import utc_now
from tallypost_providers.account_checks import CheckList, CheckStep
from tallypost_providers.sendgrid_api import SendGridAPI
from tallypost_providers.sendgrid_failures import EGRESS_ERRORS, read_answer, read_silence
from tallypost_providers.smtp_deadlines import PHASE_LIMIT_S
from tallypost_resilience.deadline import Deadline

REACH: Final = "reach SendGrid"
KEY: Final = "accept the key"
SENDING: Final = "allow sending"
DOMAINS: Final = "allow domains to be authenticated"
LOOK_UPS: Final = "allow the activity feed to be asked"

_SEND: Final = "mail.send"
_DOMAINS: Final = ("whitelabel.create", "whitelabel.read", "whitelabel.update")
_LOOK_UPS: Final = "email_activity.read"
_ABOUT_KEY: Final = frozenset({401, 403})


class _Scopes(Struct):
    scopes: list[str]


async def check_account(
    api: SendGridAPI, deadline: Deadline, *, has_look_ups: bool
) -> tuple[CheckStep, ...]:
    """The steps, the last one where the account is set to look messages up."""
    steps = CheckList((REACH, KEY, SENDING, DOMAINS, *((LOOK_UPS,) if has_look_ups else ())))
    try:
        response = await api.fetch(
            "GET", "/v3/scopes", deadline=deadline, leave_by=Deadline.after(PHASE_LIMIT_S)
        )
    except EGRESS_ERRORS as error:
        _, note = read_silence(error)
        return steps.fail(note)
    if response.status == 200:
        try:
            scopes = msgspec.json.decode(response.body, type=_Scopes).scopes
        except msgspec.MsgspecError:
            return steps.fail("the answer is none of SendGrid's")
        steps.pass_(REACH)
        steps.pass_(KEY)
        return _judge(steps, frozenset(scopes), has_look_ups=has_look_ups)
    answer = read_answer(response, utc_now())
    if answer.status in _ABOUT_KEY and answer.is_documented:
        steps.pass_(REACH)
    return steps.fail(f"HTTP status {answer.status}. {answer.text}")


def _judge(
    steps: CheckList, scopes: frozenset[str], *, has_look_ups: bool
) -> tuple[CheckStep, ...]:
    if _SEND not in scopes:
        return steps.fail(f"The key lacks {_SEND}.")
    steps.pass_(SENDING)
    if missing := [scope for scope in _DOMAINS if scope not in scopes]:
        steps.warn(
            DOMAINS,
            f"The key lacks {', '.join(missing)}: authenticate sending domains at SendGrid.",
        )
    else:
        steps.pass_(DOMAINS)
    if has_look_ups:
        if _LOOK_UPS in scopes:
            steps.pass_(LOOK_UPS)
        else:
            steps.warn(LOOK_UPS, f"The key lacks {_LOOK_UPS}: unconfirmed emails stay unconfirmed.")
    return steps.result()
