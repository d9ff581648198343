"""dkimpy as the judge of our signatures, asking a DNS that knows the sample keys only."""

from collections.abc import Callable

import dkim

from tests.unit.providers.emails import find_txt

FindTXT = Callable[..., bytes]


def verifies(message: bytes, index: int = 0, find: FindTXT = find_txt) -> bool:
    """dkimpy's verdict on one of the signatures of a message, counted from the top."""
    try:
        return bool(dkim.DKIM(message).verify(idx=index, dnsfunc=find))
    except dkim.ValidationError:
        return False
