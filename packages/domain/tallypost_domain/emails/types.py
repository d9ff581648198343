"""What accepting an email takes and gives back."""

import datetime as dt
import enum
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from tallypost_providers.types import Mode

RecipientKind = Literal["to", "cc", "bcc"]

LOOK_UP: Final = "lookup"
"""The phase of an attempt by which nothing was handed over: a provider was asked what it took."""

LOOK_UP_PLANNED: Final = "look_up"
"""Stands in the evidence of a handover without an answer about which its provider will be asked."""

ASKED: Final = "asked"
"""Stands in the evidence of a look-up with `no` where the provider was not asked after all."""


class Lane(enum.StrEnum):
    """Transactional mail goes first; bulk mail never makes it wait."""

    TRANSACTIONAL = "transactional"
    BULK = "bulk"


class Address(Struct, frozen=True):
    """One parsed mailbox."""

    header: str
    """As it stands in a header: `Name <local@domain>` or the bare address."""
    address: str
    """`local@domain`, the domain in lower-case ASCII form."""
    domain: str


class Tag(Struct, frozen=True):
    """A tenant's own label of an email."""

    name: str
    value: str


class RemoteBody(Struct, frozen=True):
    """Where the body of an attachment is still to be fetched from."""

    url: str
    is_type_open: bool
    """True where the request left the content type to the answer."""


class NewAttachment(Struct, frozen=True, kw_only=True):
    """An attachment that came with a request, decoded or still to be fetched."""

    filename: str
    content_type: str
    content_id: str | None
    body: bytes
    remote: RemoteBody | None = None
    """None once the body is here; `remote_attachments` sees to that before anything is stored."""


class NewEmail(Struct, frozen=True, kw_only=True):
    """A valid request to send one email; `validation.validate` is the only maker."""

    from_: Address
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str
    html: str | None
    text: str | None
    headers: dict[str, str]
    tags: tuple[Tag, ...]
    attachments: tuple[NewAttachment, ...]
    scheduled_at: dt.datetime | None
    stream: str | None
    """Name of the tenant's stream; None takes the key's default, else `transactional`."""


class Sender(Struct, frozen=True):
    """Who asks: what the authenticated key says about itself."""

    tenant_id: UUID
    api_key_id: UUID
    mode: Mode
    default_stream: str | None


class Idempotency(Struct, frozen=True):
    """What makes two requests one."""

    route: str
    """`POST /emails`, `POST /emails/batch` or `console resend`."""
    key: str
    fingerprint: bytes
    """SHA-256 of the canonical request; the same key with another one is a conflict."""


class BatchError(Struct, frozen=True):
    """Why one email of a permissive batch was left out."""

    index: int
    message: str


class Acceptance(Struct, frozen=True):
    """The answer to an accepted request; stored for repeats of an idempotent one."""

    ids: tuple[UUID, ...]
    errors: tuple[BatchError, ...] = ()
