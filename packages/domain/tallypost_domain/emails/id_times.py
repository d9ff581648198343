"""When an email came, by its id: a UUIDv7 begins with its milliseconds since 1970 (RFC 9562)."""

import datetime as dt
from uuid import UUID

LEAST_ID = UUID(int=0)
GREATEST_ID = UUID(int=2**128 - 1)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_BITS_BELOW = 80


def first_id_at(moment: dt.datetime) -> UUID:
    """The least id that an email of this millisecond can have; of 1970 for what was before."""
    return UUID(int=max(0, (moment - _EPOCH) // _MILLISECOND) << _BITS_BELOW)


def time_of(email_id: UUID) -> dt.datetime:
    """When the id was made, to the millisecond. Raises OverflowError beyond the year 9999."""
    return _EPOCH + (email_id.int >> _BITS_BELOW) * _MILLISECOND
