"""Reads the idempotency key of a request and the mark by which a repeat of it is known."""

from tallypost_domain.emails.errors import InvalidIdempotencyKey
from tallypost_domain.emails.types import Idempotency
from tallypost_resilience.idempotency import fingerprint, is_usable_key


def find_idempotency(key: str | None, route: str, decoded: object) -> Idempotency | None:
    """What makes repeats of a request one with it, or None where it came without a key.

    decoded is the request as it was understood: spacing, the order of keys in objects and
    unknown fields make no difference. Raises InvalidIdempotencyKey.
    """
    if key is None:
        return None
    if not is_usable_key(key):
        raise InvalidIdempotencyKey
    return Idempotency(route=route, key=key, fingerprint=fingerprint(decoded))
