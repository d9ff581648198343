"""Emails for the provider tests: valid by default, a test names only what matters to it."""

import datetime as dt
from functools import cache
from typing import Any

from msgspec.structs import replace

from tallypost_core.ids import new_id
from tallypost_providers.dkim import Algorithm, KeyPair, dns_record, generate_keypair
from tallypost_providers.types import (
    DKIMKey,
    EnvelopeRecipient,
    OutgoingEmail,
    RecipientKind,
)

SENDING_DOMAIN = "news.example.com"
CREATED_AT = dt.datetime(2026, 3, 1, 9, 30, tzinfo=dt.UTC)


# Any: each field has a type of its own, and OutgoingEmail is checked where it is built.
def make_email(**fields: Any) -> OutgoingEmail:
    """One email to one recipient; fields replace the defaults."""
    email = OutgoingEmail(
        tenant_id=new_id(),
        email_id=new_id(),
        mode="live",
        created_at=CREATED_AT,
        from_header=f"Example News <hello@{SENDING_DOMAIN}>",
        envelope_sender=f"bounce+1@{SENDING_DOMAIN}",
        to=("Ada <ada@example.net>",),
        cc=(),
        reply_to=(),
        subject="Hello",
        html=None,
        text="Hello, world.\n",
        headers={},
        attachments=(),
        recipients=(make_recipient("ada@example.net"),),
        dkim_keys=(),
        tags={},
    )
    return replace(email, **fields)


def make_recipient(address: str, kind: RecipientKind = "to") -> EnvelopeRecipient:
    """One envelope recipient with an id of its own."""
    return EnvelopeRecipient(recipient_id=new_id(), address=address, kind=kind)


@cache
def keypair(algorithm: Algorithm) -> KeyPair:
    """One key per algorithm for the whole run: making an RSA key is slow."""
    return generate_keypair(algorithm)


def make_dkim_key(algorithm: Algorithm) -> DKIMKey:
    """The signing key of SENDING_DOMAIN for an algorithm."""
    return DKIMKey(
        domain=SENDING_DOMAIN,
        selector=f"tp-{algorithm.partition('-')[0]}",
        algorithm=algorithm,
        private_key=keypair(algorithm).private_key,
    )


def find_txt(name: bytes, timeout: int = 5) -> bytes:
    """What DNS says about the keys of `make_dkim_key`, in the form that dkimpy asks for it."""
    algorithms: tuple[Algorithm, ...] = ("rsa-sha256", "ed25519-sha256")
    for algorithm in algorithms:
        key = make_dkim_key(algorithm)
        if name == f"{key.selector}._domainkey.{key.domain}.".encode("ascii"):
            return dns_record(algorithm, keypair(algorithm).public_key).encode("ascii")
    return b""
