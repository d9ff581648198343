"""What a provider tells that can be asked later whether it took a message.

An account whose capabilities say `lookup` has the method of `LooksUp`. The worker asks it about a
handover that got no answer, before the stream's policy for such emails is applied.
"""

import contextlib
from typing import Protocol, cast
from uuid import UUID

from msgspec import Struct

from tallypost_providers.addresses import to_ascii_domain
from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.types import Provider


class FoundMessage(Struct, frozen=True):
    """One message of an email, which proves that the provider took it for this address."""

    address: str
    """As the provider has it, which may differ in case or in the form of the domain."""
    provider_message_id: str
    status: str
    """The provider's own word for what became of it, such as `processed`."""


class LooksUp(Protocol):
    """What an account can do beside `types.Provider` where its capabilities say `lookup`."""

    async def look_up(self, email_id: UUID) -> tuple[FoundMessage, ...]:
        """The messages that the provider has of an email.

        None at all leaves it unknown whether it took the email: records may be late.
        Raises LookUpRefused where asking again would be of no use, LookUpFailed for anything else
        that keeps the provider from telling, and ProviderBusy where no connection becomes free
        within some two seconds: a worker breaks off after six, and takes that for a question that
        was put.
        """
        ...


def find_look_up(provider: Provider) -> LooksUp | None:
    """The account as one that can be asked; None where its capabilities do not say so."""
    # `contract.account_faults` has seen the method.
    return cast("LooksUp", provider) if provider.capabilities.lookup else None


def address_key(address: str) -> str:
    """What two ways of writing one address have in common: no capitals, an ASCII domain.

    Before the @ capitals could tell two mailboxes apart (RFC 5321, section 2.4). Providers do not
    keep them apart, and nobody has two mailboxes that differ in nothing else.
    """
    local_part, at, domain = address.strip().rpartition("@")
    # What has no such form is no address of ours, and equal to none.
    with contextlib.suppress(EmailNotBuildable):
        domain = to_ascii_domain(domain, "address")
    return f"{local_part}{at}{domain}".lower()
