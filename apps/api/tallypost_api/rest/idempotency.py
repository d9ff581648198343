"""Reads the idempotency key of a request and the mark by which a repeat of it is known."""

import hashlib
from typing import Final

import msgspec

from tallypost_domain.emails.errors import InvalidIdempotencyKey
from tallypost_domain.emails.types import Idempotency

MAX_KEY_LENGTH: Final = 256


def find_idempotency(key: str | None, route: str, decoded: object) -> Idempotency | None:
    """What makes repeats of a request one with it, or None where it came without a key.

    decoded is the request as it was understood: spacing, the order of keys in objects and
    unknown fields make no difference. Raises InvalidIdempotencyKey.
    """
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise InvalidIdempotencyKey
    canonical = msgspec.json.encode(decoded, order="deterministic")
    return Idempotency(route=route, key=key, fingerprint=hashlib.sha256(canonical).digest())
