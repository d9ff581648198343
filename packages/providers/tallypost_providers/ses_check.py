"""Checks an account at SES by what it tells about itself; nothing is sent.

GetAccount and GetConfigurationSet (docs.aws.amazon.com/ses/latest/APIReference-V2) need permissions
that sending does not need, so that a key without it may be good all the same.
"""

from collections.abc import Mapping
from typing import Any, Final

from tallypost_providers.account_checks import CheckList, CheckStep
from tallypost_providers.http_failures import HTTPSilence
from tallypost_providers.ses_answers import SESReply
from tallypost_providers.ses_client import SESClient
from tallypost_providers.ses_failures import classify
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.types import Outcome

REACH: Final = "reach Amazon SES"
KEY: Final = "accept the key"
SENDING: Final = "allow sending"
SANDBOX: Final = "be out of the sandbox"
CONFIGURATION_SET: Final = "find the configuration set"

_NO_PERMISSION: Final = frozenset({"AccessDeniedException", "AccessDenied", "NotAuthorized"})
_NO_SES: Final = "UnknownOperationException"


async def check_account(
    client: SESClient, configuration_set: str | None, timeout_s: float
) -> tuple[CheckStep, ...]:
    """The steps, the last one where a configuration set is named.

    Raises ProviderBusy once the client is closed.
    """
    named = (CONFIGURATION_SET,) if configuration_set is not None else ()
    steps = CheckList((REACH, KEY, SENDING, SANDBOX, *named))
    budget = Budget(timeout_s)
    reply = await client.call("get_account", budget)
    if not reply.is_good and not _is_about_key(reply):
        return steps.fail(_describe(reply))
    steps.pass_(REACH)
    if reply.error_name in _NO_PERMISSION:
        steps.warn(KEY, f"It may not call ses:GetAccount, so the rest is unknown. {reply.detail}")
        return steps.result()
    if not reply.is_good:
        return steps.fail(_describe(reply))
    steps.pass_(KEY)
    if reply.body.get("SendingEnabled") is not True:
        return steps.fail(f"Sending is off. The account's status is {_status(reply.body)}.")
    _judge_account(steps, reply.body)
    if configuration_set is not None:
        found = await client.call(
            "get_configuration_set", budget, ConfigurationSetName=configuration_set
        )
        return _judge_configuration_set(steps, found)
    return steps.result()


def _is_about_key(reply: SESReply) -> bool:
    """True where SES itself has judged who asked."""
    if isinstance(reply.signal, HTTPSilence) or reply.error_name == _NO_SES:
        return False
    return reply.signal.status != 0 and classify(reply.signal) is Outcome.SUSPENDED


def _judge_account(steps: CheckList, body: Mapping[str, Any]) -> None:
    if _status(body) == "HEALTHY":
        steps.pass_(SENDING, _describe_quota(body.get("SendQuota", {})))
    else:
        steps.warn(SENDING, f"The account's status is {_status(body)}: AWS looks into it.")
    if body.get("ProductionAccessEnabled") is True:
        steps.pass_(SANDBOX)
    else:
        steps.warn(
            SANDBOX,
            "The account is in the sandbox: only verified recipients get mail. Ask AWS for "
            "production access.",
        )


def _judge_configuration_set(steps: CheckList, reply: SESReply) -> tuple[CheckStep, ...]:
    if reply.error_name in _NO_PERMISSION:
        steps.warn(
            CONFIGURATION_SET,
            f"The key may not call ses:GetConfigurationSet, so this is unknown. {reply.detail}",
        )
    elif not reply.is_good:
        return steps.fail(_describe(reply))
    elif reply.body.get("SendingOptions", {}).get("SendingEnabled") is False:
        return steps.fail("Sending is off for this configuration set.")
    else:
        steps.pass_(CONFIGURATION_SET)
    return steps.result()


def _status(body: Mapping[str, Any]) -> str:
    return str(body.get("EnforcementStatus", "unknown"))


def _describe_quota(quota: Mapping[str, Any]) -> str:
    rate, daily = quota.get("MaxSendRate", 0), quota.get("Max24HourSend", 0)
    # API_SendQuota: -1 is no quota.
    bound = f"{daily:.0f} in 24 hours" if daily >= 0 else "any number in 24 hours"
    return f"{rate:g} emails a second, {bound}"


def _describe(reply: SESReply) -> str:
    name = f"{reply.error_name}: " if reply.error_name else ""
    return f"{name}{reply.detail}{reply.hint}"
