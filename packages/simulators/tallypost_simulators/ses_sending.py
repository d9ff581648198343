"""SendEmail: judges a request as SES does, and takes its message."""

import re
import uuid

from tallypost_simulators.ses_account import SESAccount
from tallypost_simulators.ses_errors import SESError, bad_request, not_found
from tallypost_simulators.ses_fields import Fields, pairs, structure, text
from tallypost_simulators.ses_messages import (
    TakenMessage,
    addresses_of,
    judge_message,
    read_content,
    recipients_of,
    require_address,
    sender_of,
)

MAX_RECIPIENTS = 50

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")


def take_message(account: SESAccount, fields: Fields) -> TakenMessage:
    """The message of a request, counted against the quota; raises SESError where it is refused."""
    account.require_sending()
    configuration_set = text(fields, "ConfigurationSetName")
    tenant_name = text(fields, "TenantName")
    _require_set_up(account, configuration_set, tenant_name)
    tags = _read_tags(fields)
    given_sender = text(fields, "FromEmailAddress")
    recipients = addresses_of(structure(fields, "Destination"))
    raw = read_content(structure(fields, "Content"), given_sender, recipients)
    message = judge_message(raw)
    sender = _bare(given_sender) if given_sender else sender_of(message)
    if fields.get("Destination") is None:
        recipients = recipients_of(message)
    _judge_envelope(account, sender, recipients)
    if tenant_name is not None:
        _require_associated(account, tenant_name, sender, configuration_set)
    account.spend_quota(len(recipients))
    return TakenMessage(
        message_id=f"0102{uuid.uuid4().hex[:12]}-{uuid.uuid4()}-000000",
        taken_at=account.now(),
        sender=sender,
        recipients=tuple(recipients),
        raw=raw,
        tags=tags,
        configuration_set=configuration_set,
        tenant_name=tenant_name,
        region=account.region,
    )


def _require_set_up(account: SESAccount, configuration_set: str | None, tenant: str | None) -> None:
    if configuration_set is not None:
        found = account.configuration_sets.get(configuration_set)
        if found is None:
            raise not_found(f"Configuration set <{configuration_set}> does not exist.")
        if not found.is_sending_enabled:
            message = f"Sending is paused for configuration set <{configuration_set}>."
            raise SESError(400, "SendingPausedException", message)
    if tenant is not None and tenant not in account.tenants:
        raise not_found(f"Tenant <{tenant}> does not exist.")


def _require_associated(
    account: SESAccount, tenant: str, sender: str, configuration_set: str | None
) -> None:
    """The words are those that others have published of live answers; AWS documents none."""
    identity = account.identities_of(sender)[0]
    wanted = [account.arn(f"identity/{identity.name}")]
    if used := configuration_set or identity.configuration_set:
        wanted.append(account.arn(f"configuration-set/{used}"))
    missing = [arn for arn in wanted if arn not in account.tenants[tenant].resources]
    if missing:
        message = f"Tenant not associated with resources [{', '.join(missing)}]."
        raise SESError(403, "AccessDeniedException", message)


def _read_tags(fields: Fields) -> dict[str, str]:
    tags: dict[str, str] = {}
    for pair in pairs(fields, "EmailTags", "Name"):
        name, value = pair["Name"], pair["Value"]
        if not _TAG.fullmatch(name) or not _TAG.fullmatch(value):
            raise bad_request(
                f"Invalid tag <{name}>: only alphanumeric ASCII characters, '_' and '-' are "
                "permitted."
            )
        if name in tags:
            raise bad_request(f"Duplicate tag name <{name}>.")
        tags[name] = value
    return tags


def _judge_envelope(account: SESAccount, sender: str, recipients: list[str]) -> None:
    if not recipients:
        raise bad_request("Missing required header 'To'.")
    if len(recipients) > MAX_RECIPIENTS:
        raise bad_request(f"Recipient count exceeds {MAX_RECIPIENTS}.")
    for address in (sender, *recipients):
        require_address(address)
    asked = [sender, *(recipients if account.is_in_sandbox else ())]
    unverified = [address for address in asked if not account.is_verified(address)]
    if unverified:
        raise SESError(
            400,
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region "
            f"{account.region.upper()}: {', '.join(unverified)}",
        )


def _bare(address: str) -> str:
    return address[address.index("<") + 1 : -1] if address.endswith(">") else address
