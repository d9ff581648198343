"""The hash that ties one entry of the audit log to the one before it."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from uuid import UUID

FIRST_PREVIOUS_HASH = bytes(32)

HASHED_COLUMNS = (
    "tenant_id",
    "id",
    "sequence",
    "actor_kind",
    "actor_id",
    "action",
    "subject_kind",
    "subject_id",
    "changes",
    "ip_address",
    "user_agent",
    "created_at",
    "previous_hash",
)
"""Every column but the hash itself, in the order in which they are hashed."""

_VERSION = "tallypost.audit.1"


def hash_entry(columns: Mapping[str, object]) -> bytes:
    """SHA-256 over an entry's columns, given by name.

    They go in as one JSON array in a fixed order: keys sorted, ASCII only, no spaces, ids and
    hashes as text, times in UTC to the microsecond. Two different entries never encode alike.
    """
    values = [_VERSION, *(columns[name] for name in HASHED_COLUMNS)]
    encoded = json.dumps(
        values, default=_encode, sort_keys=True, ensure_ascii=True, separators=(",", ":")
    )
    return hashlib.sha256(encoded.encode("ascii")).digest()


def _encode(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")
    raise TypeError(f"an audit entry has no column of type {type(value).__name__}")
