"""Reads ids in paths and parameters of the routes."""

from uuid import UUID

from tallypost_api.errors import InvalidParameter
from tallypost_core.ids import parse_id
from tallypost_domain.emails.errors import EmailNotFound


def require_email_id(text: str) -> UUID:
    """The id of an email; raises EmailNotFound where it cannot be one."""
    email_id = parse_id(text)
    if email_id is None:
        # A malformed id is an id that does not exist: the same answer, without a look-up.
        raise EmailNotFound
    return email_id


def read_cursor(name: str, text: str | None) -> UUID | None:
    """Where a page begins; raises InvalidParameter where it is no id."""
    if text is None:
        return None
    cursor = parse_id(text)
    if cursor is None:
        raise InvalidParameter(f"The `{name}` parameter is not an id.", field=name)
    return cursor
