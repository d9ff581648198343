"""Identifiers: UUIDv7 made in the application, so that the database never invents one."""

import datetime as dt
from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    """A fresh UUIDv7; ids made later in one process sort later (RFC 9562, section 5.7)."""
    return UUID(int=uuid_utils.uuid7().int)


def id_created_at(id_: UUID) -> dt.datetime:
    """The UTC time, to the millisecond, at which a UUIDv7 was made.

    Raises ValueError for another UUID version.
    """
    if id_.version != 7:
        raise ValueError(f"not a UUIDv7: {id_}")
    return dt.datetime.fromtimestamp((id_.int >> 80) / 1000, tz=dt.UTC)


def parse_id(text: str) -> UUID | None:
    """Read a UUID from outside; None where the text is not one in its usual form."""
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text.lower() else None
