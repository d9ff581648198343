"""Identities: domains and addresses to send from, and the keys that sign for them.

Each operation takes the fields of its request and the name in its path, which may be empty.
"""

import base64
import binascii
import hashlib
import re

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tallypost_simulators.ses_account import Identity, SESAccount
from tallypost_simulators.ses_errors import already_exists, bad_request, not_found
from tallypost_simulators.ses_fields import Fields, pairs, required_text, structure, text

_SELECTOR = re.compile(r"[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]{0,61}[a-zA-Z0-9]")
_BASE64 = re.compile(r"[a-zA-Z0-9+/]+={0,2}")


def create_identity(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """CreateEmailIdentity."""
    name = required_text(fields, "EmailIdentity")
    if name.lower() in account.identities:
        raise already_exists(f"Email identity {name} already exist.")
    if not re.fullmatch(r"(?:[^@\s]+@)?(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]+", name):
        raise bad_request(f"Invalid domain name {name}.")
    identity = Identity(name=name, tags=pairs(fields, "Tags", "Key"))
    identity.configuration_set = text(fields, "ConfigurationSetName")
    if "@" not in name:
        _give_key(identity, structure(fields, "DkimSigningAttributes"))
    account.identities[name.lower()] = identity
    return {
        "IdentityType": _type_of(name),
        "VerifiedForSendingStatus": identity.is_verified,
        "DkimAttributes": _describe_dkim(identity),
    }


def get_identity(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """GetEmailIdentity."""
    identity = _find(account, name)
    answer: dict[str, object] = {
        "IdentityType": _type_of(name),
        "FeedbackForwardingStatus": True,
        "VerifiedForSendingStatus": identity.is_verified,
        "VerificationStatus": "SUCCESS" if identity.is_verified else "PENDING",
        "VerificationInfo": {},
        "DkimAttributes": _describe_dkim(identity),
        "MailFromAttributes": {"BehaviorOnMxFailure": "USE_DEFAULT_VALUE"},
        "Policies": {},
        "Tags": identity.tags,
    }
    if identity.configuration_set is not None:
        answer["ConfigurationSetName"] = identity.configuration_set
    return answer


def delete_identity(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """DeleteEmailIdentity."""
    _find(account, name)
    del account.identities[name.lower()]
    return {}


def put_signing_attributes(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
    """PutEmailIdentityDkimSigningAttributes; SES looks at the DNS anew and goes on sending."""
    identity = _find(account, name)
    origin = required_text(fields, "SigningAttributesOrigin")
    attributes = structure(fields, "SigningAttributes")
    if origin == "EXTERNAL" and not attributes:
        raise bad_request("SigningAttributes are required where the origin is EXTERNAL.")
    _give_key(identity, attributes if origin == "EXTERNAL" else {})
    identity.is_signed = False
    return {"DkimStatus": "PENDING", "DkimTokens": identity.tokens}


def _give_key(identity: Identity, attributes: Fields) -> None:
    selector = text(attributes, "DomainSigningSelector")
    private_key = text(attributes, "DomainSigningPrivateKey")
    if selector is None and private_key is None:
        identity.origin, identity.private_key = "AWS_SES", None
        identity.tokens = [
            hashlib.sha256(f"{identity.name}{number}".encode()).hexdigest()[:32]
            for number in range(3)
        ]
        return
    if selector is None or private_key is None:
        raise bad_request("DomainSigningSelector and DomainSigningPrivateKey go together.")
    if not _SELECTOR.fullmatch(selector):
        raise bad_request("Invalid DomainSigningSelector.")
    _require_key(private_key)
    identity.origin, identity.private_key, identity.tokens = "EXTERNAL", private_key, [selector]


def _require_key(private_key: str) -> None:
    if not _BASE64.fullmatch(private_key):
        raise bad_request("DomainSigningPrivateKey is not base64.")
    try:
        key = serialization.load_der_private_key(base64.b64decode(private_key), password=None)
    except (ValueError, TypeError, binascii.Error) as error:
        raise bad_request("DomainSigningPrivateKey is no private key.") from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size not in {1024, 2048}:
        raise bad_request("DomainSigningPrivateKey must use 1024 or 2048-bit RSA.")


def _describe_dkim(identity: Identity) -> dict[str, object]:
    if "@" in identity.name:
        return {"SigningEnabled": False, "Status": "NOT_STARTED"}
    described: dict[str, object] = {
        "SigningEnabled": True,
        "Status": "SUCCESS" if identity.is_signed else "PENDING",
        "Tokens": identity.tokens,
        "SigningAttributesOrigin": identity.origin,
    }
    if identity.origin == "AWS_SES":
        described |= {
            "NextSigningKeyLength": "RSA_2048_BIT",
            "SigningHostedZone": "dkim.amazonses.com",
        }
    return described


def _type_of(name: str) -> str:
    return "EMAIL_ADDRESS" if "@" in name else "DOMAIN"


def _find(account: SESAccount, name: str) -> Identity:
    identity = account.identities.get(name.lower())
    if identity is None:
        raise not_found(f"Email identity {name} does not exist.")
    return identity
