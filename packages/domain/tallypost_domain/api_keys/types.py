"""API keys as other parts see them."""

from typing import Literal
from uuid import UUID

from msgspec import Struct

from tallypost_providers.types import Mode

KeyPermission = Literal["full_access", "sending_access"]


class Principal(Struct, frozen=True):
    """What an authenticated key says about who is asking."""

    tenant_id: UUID
    api_key_id: UUID
    mode: Mode
    permission: KeyPermission
    stream: str | None
    rate_limit_per_s: float | None
    """The key's own limit, else its tenant's, else None: the setting decides."""


class CreatedKey(Struct, frozen=True):
    """A new key; the token is shown once and stored nowhere."""

    id: UUID
    token: str

    def __repr__(self) -> str:
        return f"CreatedKey(id={self.id})"
