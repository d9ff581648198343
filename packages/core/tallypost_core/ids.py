"""Identifiers: UUIDv7 made in the application, so that the database never invents one."""

import datetime as dt
from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    """A fresh UUIDv7; ids made later in one process sort later (RFC 9562, section 5.7)."""
    return UUID(int=uuid_utils.uuid7().int)


def time_of(id_: UUID) -> dt.datetime:
    """When a UUIDv7 was made, in whole milliseconds (RFC 9562, section 5.7)."""
    return dt.datetime.fromtimestamp((id_.int >> 80) / 1000, dt.UTC)


def parse_id(text: str) -> UUID | None:
    """Read a UUID from outside; None where the text is not one in its usual form."""
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text.lower() else None
