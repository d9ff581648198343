"""Who acts, and what a check of the chain finds."""

from typing import Literal
from uuid import UUID

from msgspec import Struct

Change = str | int | bool | None
"""A value in `changes`: an id, a state, a number. Text is a bare word, never free text."""


class Actor(Struct, frozen=True):
    """Whoever does something in a tenant, and from where."""

    kind: Literal["person", "api_key", "system"]
    id: UUID | None = None
    """None where the system acts by itself."""
    ip_address: str | None = None
    user_agent: str | None = None


class Verification(Struct, frozen=True):
    """What a walk over a tenant's whole chain found."""

    entries: int
    """Entries that follow from each other, counted from the first."""
    last_hash: bytes
    """Hash of the last good entry. A copy kept elsewhere shows whether the end was cut off."""
    broken_at: int | None
    """Sequence at which the chain stops to hold, or None where it holds to its end."""
