"""Sending domains as identities at SES, signed for with the domain's own key (BYODKIM).

Whose an identity is, its tag says: what bears OWNER_TAG was made here and follows the platform's
keys; any other was made by a person or a program that the platform knows nothing of. Such a one is
told about and never changed.

Where the account sends for a tenant of SES, this takes only what is from an identity and by a
configuration set that are associated with it (API_SendEmail, TenantName), whoever made the
identity.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tallypost_core.settings.providers import SESSettings
from tallypost_providers.dkim import dns_record
from tallypost_providers.errors import DomainNotChecked
from tallypost_providers.provider_domains import DomainStanding, ProviderDomain, WantedRecord
from tallypost_providers.ses_answers import SESReply
from tallypost_providers.ses_client import SESClient
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.types import DKIMKey

OWNER_TAG = {"Key": "managed-by", "Value": "tallypost"}

TIMEOUT_S = 20.0
"""For each request."""

# API_DkimSigningAttributes: 1024 or 2048 bits; a selector of one label, without underscores.
_RSA_BITS = frozenset({1024, 2048})
_SELECTOR = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_EASY_DKIM_ZONE = "dkim.amazonses.com"


class _SigningKey(NamedTuple):
    """A key that SES takes."""

    selector: str
    private_key: str
    """Base64 of PKCS#8 DER, without line ends."""
    record: str
    """What the DNS has to say."""


async def ensure_domain(
    client: SESClient, settings: SESSettings, domain: ProviderDomain
) -> DomainStanding:
    """Make or mend the identity of a domain, let the tenant of SES use it, and tell where it
    stands.

    Raises DomainNotChecked where SES did not say, with the name of its error.
    """
    key = _find_key(domain)
    found = await _get(client, domain)
    if found is None:
        if key is None:
            return DomainStanding(
                is_verified=False,
                detail="SES takes RSA keys of 1024 or 2048 bits; the domain has none.",
            )
        found = await _create(client, domain, key)
    is_ours = OWNER_TAG in found.get("Tags", ())
    if is_ours and key is not None and not _signs_with(found, key):
        await _put_key(client, domain, key)
        found = await _get(client, domain) or {}
    gap = await _associate(client, settings, domain, found)
    if not is_ours:
        return DomainStanding(
            is_verified=_is_verified(found) and not gap,
            records=_records(domain, found, key),
            detail=gap or "Tallypost did not make this identity and leaves it as it is.",
        )
    return DomainStanding(
        # Without the record SES may send all the same, unsigned.
        is_verified=_is_verified(found) and _has_seen_record(found) and not gap,
        records=_records(domain, found, key),
        detail=gap or _describe(found),
    )


async def _get(client: SESClient, domain: ProviderDomain) -> Mapping[str, Any] | None:
    reply = await client.call("get_email_identity", Budget(TIMEOUT_S), EmailIdentity=domain.name)
    if reply.error_name == "NotFoundException":
        return None
    return _require_good(reply)


async def _create(client: SESClient, domain: ProviderDomain, key: _SigningKey) -> Mapping[str, Any]:
    reply = await client.call(
        "create_email_identity",
        Budget(TIMEOUT_S),
        EmailIdentity=domain.name,
        DkimSigningAttributes=_attributes(key),
        Tags=[OWNER_TAG],
    )
    if reply.error_name == "AlreadyExistsException":
        # Somebody made it since; whose it is, its tags say.
        return await _get(client, domain) or {}
    return {**_require_good(reply), "Tags": [OWNER_TAG]}


async def _put_key(client: SESClient, domain: ProviderDomain, key: _SigningKey) -> None:
    reply = await client.call(
        "put_email_identity_dkim_signing_attributes",
        Budget(TIMEOUT_S),
        EmailIdentity=domain.name,
        SigningAttributesOrigin="EXTERNAL",
        SigningAttributes=_attributes(key),
    )
    _require_good(reply)


async def _associate(
    client: SESClient,
    settings: SESSettings,
    domain: ProviderDomain,
    identity: Mapping[str, Any],
) -> str:
    """Let the tenant of the settings use the identity and the configuration set; what keeps it
    from that, in words, or nothing."""
    if settings.tenant_name is None:
        return ""
    reply = await client.call("get_tenant", Budget(TIMEOUT_S), TenantName=settings.tenant_name)
    if reply.error_name == "NotFoundException":
        return "SES knows no tenant of the name in the settings."
    # No other answer has the account's number and the partition, which an ARN needs.
    arn = str(_require_good(reply).get("Tenant", {}).get("TenantArn", ""))
    prefix, mark, _ = arn.partition(":tenant/")
    if not mark:
        raise DomainNotChecked("SES did not give the ARN of its tenant.")
    resources = [f"identity/{domain.name}"]
    # One without a name in the request goes by that of its identity.
    if used := settings.configuration_set or identity.get("ConfigurationSetName"):
        resources.append(f"configuration-set/{used}")
    for resource in resources:
        reply = await client.call(
            "create_tenant_resource_association",
            Budget(TIMEOUT_S),
            TenantName=settings.tenant_name,
            ResourceArn=f"{prefix}:{resource}",
        )
        if reply.error_name == "NotFoundException":
            return f"SES knows no {resource.partition('/')[0]} of this name to give to its tenant."
        if reply.error_name != "AlreadyExistsException":
            _require_good(reply)
    return ""


def _require_good(reply: SESReply) -> Mapping[str, Any]:
    if not reply.is_good:
        # Not its words, which name the account and the domain: errors end up in logs.
        reason = reply.error_name or ", ".join(reply.evidence.values())
        raise DomainNotChecked(f"SES did not say where the domain stands: {reason}.")
    return reply.body


def _attributes(key: _SigningKey) -> dict[str, str]:
    return {
        "DomainSigningSelector": key.selector,
        "DomainSigningPrivateKey": key.private_key,
    }


def _signs_with(identity: Mapping[str, Any], key: _SigningKey) -> bool:
    # SES never shows a key. A new key of ours has a selector of its own.
    dkim: Mapping[str, object] = identity.get("DkimAttributes", {})
    is_own_key = dkim.get("SigningAttributesOrigin") == "EXTERNAL"
    return is_own_key and dkim.get("Tokens") == [key.selector]


def _is_verified(identity: Mapping[str, Any]) -> bool:
    return identity.get("VerifiedForSendingStatus") is True


def _has_seen_record(identity: Mapping[str, Any]) -> bool:
    dkim: Mapping[str, object] = identity.get("DkimAttributes", {})
    return dkim.get("Status") == "SUCCESS"


def _records(
    domain: ProviderDomain, identity: Mapping[str, Any], key: _SigningKey | None
) -> tuple[WantedRecord, ...]:
    """What SES looks for: the key of its own choice by three CNAMEs, or ours in a TXT record."""
    dkim, is_found = identity.get("DkimAttributes", {}), _has_seen_record(identity)
    tokens = [str(token) for token in dkim.get("Tokens", ())]
    if dkim.get("SigningAttributesOrigin") != "EXTERNAL":
        zone = str(dkim.get("SigningHostedZone") or _EASY_DKIM_ZONE)
        return tuple(
            WantedRecord(
                type="CNAME",
                name=f"{token}._domainkey.{domain.name}",
                value=f"{token}.{zone}",
                is_found=is_found,
            )
            for token in tokens
        )
    if key is None or tokens != [key.selector]:
        return ()
    name = f"{key.selector}._domainkey.{domain.name}"
    return (WantedRecord(type="TXT", name=name, value=key.record, is_found=is_found),)


def _describe(identity: Mapping[str, Any]) -> str:
    if _is_verified(identity) and _has_seen_record(identity):
        return ""
    words = {
        "VerificationStatus": identity.get("VerificationStatus"),
        "ErrorType": identity.get("VerificationInfo", {}).get("ErrorType"),
        "DKIM": identity.get("DkimAttributes", {}).get("Status"),
    }
    return ", ".join(f"{name} {value}" for name, value in words.items() if value)


def _find_key(domain: ProviderDomain) -> _SigningKey | None:
    """The first of the domain's keys that SES takes."""
    return next(filter(None, map(_read_key, domain.dkim_keys)), None)


def _read_key(key: DKIMKey) -> _SigningKey | None:
    if key.algorithm != "rsa-sha256" or not _SELECTOR.fullmatch(key.selector):
        return None
    try:
        private_key = serialization.load_der_private_key(key.private_key, password=None)
    except (ValueError, TypeError):
        return None
    if not isinstance(private_key, rsa.RSAPrivateKey) or private_key.key_size not in _RSA_BITS:
        return None
    public_key = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _SigningKey(
        key.selector,
        base64.b64encode(key.private_key).decode("ascii"),
        dns_record("rsa-sha256", base64.b64encode(public_key).decode("ascii")),
    )
