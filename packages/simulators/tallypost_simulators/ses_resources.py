"""Configuration sets, suppressed addresses, tags, and what an account tells about itself.

Each operation takes the fields of its request and the name in its path, which may be empty.
"""

import datetime as dt

from tallypost_simulators.ses_account import (
    ConfigurationSet,
    EventDestination,
    SESAccount,
    Suppression,
)
from tallypost_simulators.ses_errors import already_exists, bad_request, not_found
from tallypost_simulators.ses_fields import Fields, pairs, required_text, structure, texts

EVENT_TYPES = frozenset(
    {
        "SEND", "REJECT", "BOUNCE", "COMPLAINT", "DELIVERY", "OPEN", "CLICK",
        "RENDERING_FAILURE", "DELIVERY_DELAY", "SUBSCRIPTION",
    }
)  # fmt: skip


def create_configuration_set(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """CreateConfigurationSet."""
    name = required_text(fields, "ConfigurationSetName")
    if name in account.configuration_sets:
        raise already_exists(f"Configuration set <{name}> already exists.")
    account.configuration_sets[name] = ConfigurationSet(
        name=name,
        tags=pairs(fields, "Tags", "Key"),
        is_sending_enabled=structure(fields, "SendingOptions").get("SendingEnabled", True),
    )
    return {}


def get_configuration_set(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """GetConfigurationSet."""
    found = _find_set(account, name)
    return {
        "ConfigurationSetName": found.name,
        "SendingOptions": {"SendingEnabled": found.is_sending_enabled},
        "Tags": found.tags,
        # Nobody sets these here.
        "DeliveryOptions": {},
        "ReputationOptions": {"ReputationMetricsEnabled": False},
        "SuppressionOptions": {},
        "TrackingOptions": {},
        "VdmOptions": {},
    }


def delete_configuration_set(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """DeleteConfigurationSet."""
    _find_set(account, name)
    del account.configuration_sets[name]
    return {}


def create_event_destination(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """CreateConfigurationSetEventDestination, to SNS only."""
    found = _find_set(account, name)
    destination = required_text(fields, "EventDestinationName")
    if destination in found.destinations:
        raise already_exists(f"Event destination <{destination}> already exists.")
    definition = structure(fields, "EventDestination")
    event_types = texts(definition, "MatchingEventTypes")
    if not event_types or not set(event_types) <= EVENT_TYPES:
        raise bad_request("MatchingEventTypes are missing or unknown.")
    found.destinations[destination] = EventDestination(
        name=destination,
        topic_arn=required_text(structure(definition, "SnsDestination"), "TopicArn"),
        event_types=event_types,
        is_enabled=definition.get("Enabled") is True,
    )
    return {}


def list_event_destinations(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """GetConfigurationSetEventDestinations."""
    return {
        "EventDestinations": [
            {
                "Name": item.name,
                "Enabled": item.is_enabled,
                "MatchingEventTypes": item.event_types,
                "SnsDestination": {"TopicArn": item.topic_arn},
            }
            for item in _find_set(account, name).destinations.values()
        ]
    }


def put_suppression(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """PutSuppressedDestination."""
    address, reason = required_text(fields, "EmailAddress"), required_text(fields, "Reason")
    if reason not in {"BOUNCE", "COMPLAINT"}:
        raise bad_request("Reason is BOUNCE or COMPLAINT.")
    account.suppressed[address.lower()] = Suppression(reason=reason, updated_at=account.now())
    return {}


def get_suppression(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """GetSuppressedDestination."""
    found = account.suppressed.get(name.lower())
    if found is None:
        raise not_found(f"Email address {name} does not exist on your suppression list.")
    return {"SuppressedDestination": _describe(name.lower(), found)}


def delete_suppression(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """DeleteSuppressedDestination."""
    if account.suppressed.pop(name.lower(), None) is None:
        raise not_found(f"Email address {name} does not exist on your suppression list.")
    return {}


def list_suppressions(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """ListSuppressedDestinations, on one page."""
    return {
        "SuppressedDestinationSummaries": [
            _describe(address, item) for address, item in account.suppressed.items()
        ]
    }


def get_account(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """GetAccount."""
    status = "PROBATION" if account.is_under_review else "HEALTHY"
    return {
        "DedicatedIpAutoWarmupEnabled": False,
        "EnforcementStatus": "SHUTDOWN" if account.is_suspended else status,
        "ProductionAccessEnabled": not account.is_in_sandbox,
        "SendingEnabled": not (account.is_paused or account.is_suspended),
        "SendQuota": {
            "Max24HourSend": account.max_24_hour_send,
            "MaxSendRate": account.max_send_rate,
            "SentLast24Hours": float(account.count_sent()),
        },
        "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
    }


def tag_resource(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """TagResource, of identities and configuration sets."""
    kind, _, name = required_text(fields, "ResourceArn").rpartition(":")[2].partition("/")
    found = (
        account.identities.get(name.lower())
        if kind == "identity"
        else account.configuration_sets.get(name)
    )
    if found is None:
        raise not_found("The resource does not exist.")
    added = pairs(fields, "Tags", "Key")
    keys = {tag["Key"] for tag in added}
    found.tags = [tag for tag in found.tags if tag["Key"] not in keys] + added
    return {}


def _find_set(account: SESAccount, name: str) -> ConfigurationSet:
    found = account.configuration_sets.get(name)
    if found is None:
        raise not_found(f"Configuration set <{name}> does not exist.")
    return found


def _describe(address: str, item: Suppression) -> dict[str, object]:
    updated_at: dt.datetime = item.updated_at
    return {
        "EmailAddress": address,
        "Reason": item.reason,
        "LastUpdateTime": updated_at.timestamp(),
    }
