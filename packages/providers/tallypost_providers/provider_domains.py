"""Whether a provider lets a domain be sent from, and what it still wants to see in the DNS."""

from typing import Final, Literal

from msgspec import Struct

from tallypost_providers.types import DKIMKey

KNOWS_DOMAINS: Final = ("sendgrid", "ses")
"""Providers that take mail only from domains that they know, of those that tenants may use."""


class ProviderDomain(Struct, frozen=True, kw_only=True):
    """A sending domain as the platform knows it."""

    name: str
    """In its ASCII form."""
    dkim_keys: tuple[DKIMKey, ...]
    """Its own keys, of which a provider that takes keys is given one that it can use."""


class WantedRecord(Struct, frozen=True, kw_only=True):
    """A DNS record that a provider looks for."""

    type: Literal["CNAME", "TXT", "MX"]
    name: str
    """The whole name, without a dot at its end."""
    value: str
    is_found: bool
    """The provider has seen it."""


class DomainStanding(Struct, frozen=True, kw_only=True):
    """Where a domain stands at one provider account."""

    is_verified: bool
    """The account may send from it now."""
    records: tuple[WantedRecord, ...] = ()
    detail: str = ""
    """The provider's own words about what is missing, clipped."""
