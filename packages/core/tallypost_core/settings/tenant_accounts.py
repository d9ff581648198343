"""What an operator sets for the provider accounts that tenants have of their own."""

import ipaddress
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from tallypost_core.settings.checks import require_address

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def _require_networks(text: str) -> None:
    for item in filter(None, map(str.strip, text.split(","))):
        try:
            ipaddress.ip_network(item)
        except ValueError:
            raise ValueError(
                "it is a list of networks such as 10.20.0.0/16, without bits beyond the prefix"
            ) from None


def _require_endpoint(url: str) -> None:
    require_address(url)
    address = urlsplit(url)
    if address.scheme == "http" and not _is_loopback(address.hostname or ""):
        raise ValueError("it starts with https:// unless it is on loopback")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class TenantHostsSettings(Struct, frozen=True):
    """Provider accounts of tenants' own. What stands here is for private networks and tests."""

    allowed_networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks, such as 10.20.0.0/16, that the SMTP hosts of tenants may be in "
            "beside the public internet. Every tenant can reach what listens there on a port of "
            "mail.",
            extra={"check": _require_networks},
        ),
    ] = ()

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks, ready for `EgressRules`."""
        return tuple(map(ipaddress.ip_network, self.allowed_networks))


class TenantAccountsSettings(TenantHostsSettings, frozen=True):
    """Provider accounts of tenants' own. What stands here is for private networks and tests."""

    ses_endpoint: Annotated[
        str | None,
        Meta(
            description="Address that all of the tenants' accounts at SES are asked at, such as "
            "that of a simulator on loopback. Unset, it is that of each account's Region.",
            extra={"check": _require_endpoint},
        ),
    ] = None
    sendgrid_endpoint: Annotated[
        str | None,
        Meta(
            description="Address that all of the tenants' accounts at SendGrid are asked at, such "
            "as that of a simulator on loopback. Unset, it is that of each account's region.",
            extra={"check": _require_endpoint},
        ),
    ] = None

    @property
    def endpoints(self) -> dict[str, str]:
        """The addresses that are set, by provider."""
        named = {"ses": self.ses_endpoint, "sendgrid": self.sendgrid_endpoint}
        return {provider: url for provider, url in named.items() if url is not None}
