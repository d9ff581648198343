"""Tenants of an account, and which identities and configuration sets they may send by.

Each operation takes the fields of its request and the name in its path, which is empty.
"""

import re

from tallypost_simulators.ses_account import SESAccount, Tenant
from tallypost_simulators.ses_errors import already_exists, bad_request, not_found
from tallypost_simulators.ses_fields import Fields, pairs, required_text

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KINDS = {"identity": "EMAIL_IDENTITY", "configuration-set": "CONFIGURATION_SET"}


def create_tenant(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """CreateTenant."""
    name = required_text(fields, "TenantName")
    if not _NAME.fullmatch(name):
        raise bad_request(f"Invalid tenant name {name}.")
    if name in account.tenants:
        raise already_exists(f"Tenant {name} already exists.")
    tenant = account.add_tenant(name)
    tenant.tags = pairs(fields, "Tags", "Key")
    return _describe(account, tenant)


def get_tenant(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """GetTenant."""
    return {"Tenant": _describe(account, _find(account, fields))}


def associate(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """CreateTenantResourceAssociation."""
    tenant, arn = _find(account, fields), _find_resource(account, fields)
    if arn in tenant.resources:
        raise already_exists(f"Resource {arn} is associated with tenant {tenant.name}.")
    tenant.resources.add(arn)
    return {}


def disassociate(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """DeleteTenantResourceAssociation."""
    tenant, arn = _find(account, fields), required_text(fields, "ResourceArn")
    if arn not in tenant.resources:
        raise not_found(f"Resource {arn} is not associated with tenant {tenant.name}.")
    tenant.resources.remove(arn)
    return {}


def list_resources(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """ListTenantResources, on one page."""
    return {
        "TenantResources": [
            {"ResourceType": _KINDS[_split(arn)[0]], "ResourceArn": arn}
            for arn in sorted(_find(account, fields).resources)
        ]
    }


def _find(account: SESAccount, fields: Fields) -> Tenant:
    name = required_text(fields, "TenantName")
    tenant = account.tenants.get(name)
    if tenant is None:
        raise not_found(f"Tenant <{name}> does not exist.")
    return tenant


def _find_resource(account: SESAccount, fields: Fields) -> str:
    arn = required_text(fields, "ResourceArn")
    kind, name = _split(arn)
    if kind not in _KINDS or arn != account.arn(f"{kind}/{name}"):
        raise bad_request(f"Invalid resource ARN {arn}.")
    known = account.identities if kind == "identity" else account.configuration_sets
    if name not in known:
        raise not_found(f"Resource {arn} does not exist.")
    return arn


def _split(arn: str) -> tuple[str, str]:
    kind, _, name = arn.rpartition(":")[2].partition("/")
    return kind, name


def _describe(account: SESAccount, tenant: Tenant) -> dict[str, object]:
    return {
        "TenantName": tenant.name,
        "TenantId": tenant.id,
        "TenantArn": account.arn(f"tenant/{tenant.name}/{tenant.id}"),
        "CreatedTimestamp": tenant.created_at.timestamp(),
        "Tags": tenant.tags,
        "SendingStatus": "ENABLED",
    }
