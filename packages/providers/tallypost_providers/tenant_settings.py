"""What tenants set of provider accounts of their own, as one Struct for each provider.

Much less than the platform sets: no address of an API, because that could be anybody's, no plain
text, and no account at an API without credentials: the platform's own would be taken for it.
A field's Meta has the label that people see as its title. Its `extra={"tidy": ...}` names a
function that gives a text its usual form, or raises ValueError with what the field must be.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import idna
from msgspec import Meta, Struct

from tallypost_core.settings.loader import Secret
from tallypost_providers.ses_settings import NAME, REGION

Port = Literal[25, 465, 587, 2465, 2525, 2587]
"""Ports of mail only: a tenant's host must not make us knock anywhere else."""

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
# Resolvers read such a name as an address, in octal, hexadecimal or with fewer than four parts.
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_HOST_MUST = (
    "must be a host name such as smtp.example.com, or an IP address, without a scheme or port"
)
# IAM's API reference, AccessKey: 16 to 128 word characters.
_ACCESS_KEY_ID = re.compile(r"[A-Za-z0-9_]{16,128}")
_VISIBLE = re.compile("[!-~]+")

PORT_SECURITY: Final[Mapping[int, str]] = {
    465: "tls",
    587: "starttls",
    2465: "tls",
    2587: "starttls",
}
"""What a port speaks, where that is agreed: RFC 8314, section 3.3, and for 2465 and 2587 the SMTP
endpoints of SES. Any other speaks either."""


def find_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is, in its usual form; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _tidy_host(text: str) -> str:
    """A name in lower case and its ASCII form (RFC 5891), or an address."""
    host = text.lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    address = find_address(host)
    # A zone names an interface of this machine.
    if address is not None and "%" not in host:
        return str(address)
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise ValueError(_HOST_MUST) from None
    host = host.removesuffix(".")
    if not _HOST_NAME.fullmatch(host) or _ENDS_IN_NUMBER.fullmatch(host):
        raise ValueError(_HOST_MUST)
    return host


def _tidy_region(text: str) -> str:
    region = text.lower()
    if not REGION.fullmatch(region):
        raise ValueError("must be a Region of AWS, such as eu-west-1")
    return region


def _tidy_access_key_id(text: str) -> str:
    if not _ACCESS_KEY_ID.fullmatch(text):
        raise ValueError("must be the id of an access key: 16 to 128 letters and digits")
    if text.startswith("ASIA"):
        # IAM user guide, reference_identifiers: temporary ones need a session token besides.
        raise ValueError("must be the id of a long-term access key, which starts with AKIA")
    return text


def _tidy_ses_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("must be 1 to 64 letters, digits, underscores and dashes")
    return text


def _tidy_visible(text: str) -> str:
    if not _VISIBLE.fullmatch(text):
        raise ValueError("must be visible ASCII characters, without a space even at its ends")
    return text


class SMTPTenantSettings(Struct, frozen=True, kw_only=True):
    """A tenant's SMTP relay."""

    host: Annotated[
        str,
        Meta(
            title="Host",
            description="Host of the SMTP relay. It must be reachable on the public internet, and "
            "its certificate must be for this name.",
            max_length=253,
            extra={"tidy": _tidy_host},
        ),
    ]
    port: Annotated[
        Port,
        Meta(title="Port", description="587 and 2587 with STARTTLS, 465 and 2465 with TLS."),
    ] = 587
    security: Annotated[
        Literal["starttls", "tls"],
        Meta(
            title="Encryption",
            description="starttls demands STARTTLS, tls speaks TLS from the first byte.",
        ),
    ] = "starttls"
    username: Annotated[
        str | None,
        Meta(
            title="User name", description="Login of the relay, if it asks for one.", max_length=320
        ),
    ] = None
    password: Annotated[
        Secret | None,
        Meta(
            title="Password",
            description="Password of that login; both or neither. Spaces at its ends count.",
            max_length=1024,
        ),
    ] = None
    rate_per_s: Annotated[
        float | None,
        Meta(
            title="Emails a second",
            description="Emails a second that the relay may get. Unset, it refuses by itself "
            "what is too fast.",
            gt=0,
            le=100_000,
        ),
    ] = None
    connections: Annotated[
        int,
        Meta(
            title="Connections",
            description="Connections that one worker process keeps to the relay at most.",
            ge=1,
            le=10,
        ),
    ] = 5


class SESTenantSettings(Struct, frozen=True, kw_only=True):
    """A tenant's account at Amazon SES."""

    region: Annotated[
        str,
        Meta(
            title="Region",
            description="Region of the account, such as eu-west-1.",
            max_length=64,
            extra={"tidy": _tidy_region},
        ),
    ]
    access_key_id: Annotated[
        str,
        Meta(
            title="Access key id",
            description="Id of a long-term access key whose user may send.",
            max_length=128,
            extra={"tidy": _tidy_access_key_id},
        ),
    ]
    secret_access_key: Annotated[
        Secret,
        Meta(
            title="Secret access key",
            description="Secret of that access key.",
            max_length=256,
            extra={"tidy": _tidy_visible},
        ),
    ]
    configuration_set: Annotated[
        str | None,
        Meta(
            title="Configuration set",
            description="Configuration set that each message is sent with.",
            max_length=64,
            extra={"tidy": _tidy_ses_name},
        ),
    ] = None
    tenant_name: Annotated[
        str | None,
        Meta(
            title="Tenant of SES",
            description="Tenant of SES that each message is sent for, where the account has them.",
            max_length=64,
            extra={"tidy": _tidy_ses_name},
        ),
    ] = None
    rate_per_s: Annotated[
        float | None,
        Meta(
            title="Emails a second",
            description="Sending rate of the account. Unset, SES itself refuses what is too fast.",
            gt=0,
            le=100_000,
        ),
    ] = None
    connections: Annotated[
        int,
        Meta(
            title="Connections",
            description="Connections that one worker process keeps to SES at most.",
            ge=1,
            le=10,
        ),
    ] = 5

    def __post_init__(self) -> None:
        # The SDK takes an empty one for none, and looks for the platform's.
        if not (self.access_key_id and self.secret_access_key.reveal()):
            raise ValueError("a tenant's account at SES has credentials of its own")


class SendGridTenantSettings(Struct, frozen=True, kw_only=True):
    """A tenant's account at SendGrid."""

    api_key: Annotated[
        Secret,
        Meta(
            title="API key",
            description="API key with Mail Send, and with Sender Authentication where domains are "
            "to be authenticated from here.",
            max_length=512,
            extra={"tidy": _tidy_visible},
        ),
    ]
    region: Annotated[
        Literal["global", "eu"],
        Meta(
            title="Region",
            description="eu for the key of a subuser of the EU region, global for all others.",
        ),
    ] = "global"
    activity_lookup: Annotated[
        bool,
        Meta(
            title="Ask the activity feed",
            description="Whether the Email Activity Feed may be asked if an unconfirmed email was "
            "taken. SendGrid sells it as an add-on.",
        ),
    ] = False
    rate_per_s: Annotated[
        float | None,
        Meta(
            title="Emails a second",
            description="Emails a second that SendGrid may get. Unset, it refuses by itself "
            "what is too fast.",
            gt=0,
            le=100_000,
        ),
    ] = None
    connections: Annotated[
        int,
        Meta(
            title="Connections",
            description="Connections that one worker process keeps to SendGrid at most.",
            ge=1,
            le=10,
        ),
    ] = 5


TENANT_SETTINGS: Final[Mapping[str, type[Struct]]] = {
    "smtp": SMTPTenantSettings,
    "ses": SESTenantSettings,
    "sendgrid": SendGridTenantSettings,
}
"""By the name of a provider; a tenant can have accounts at these and no others."""
