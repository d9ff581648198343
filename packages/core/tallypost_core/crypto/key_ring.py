"""Key rings: the named 32-byte keys of the settings, newest first.

One form serves both TALLYPOST_SECRETS_KEY_RING (wraps data keys) and TALLYPOST_SECRETS_PEPPERS
(hashes what is looked up). To rotate, put a new entry in front; drop an old one only when
nothing refers to it any more.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Self

from tallypost_core.crypto.errors import KeyRingError

KEY_SIZE_BYTES = 32

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


@dataclass(frozen=True, slots=True)
class RingKey:
    """One key with the name that stored data refers to it by."""

    name: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """At least one key; the first is the newest and the only one that new data is made with."""

    keys: tuple[RingKey, ...]

    @property
    def newest(self) -> RingKey:
        """The key for new data."""
        return self.keys[0]

    def find(self, name: str) -> RingKey | None:
        """The key of that name, or None."""
        return next((key for key in self.keys if key.name == name), None)

    @classmethod
    def from_setting(cls, text: str) -> Self:
        """Read `name:base64[,name:base64...]`, 32 bytes each, newest first.

        Spaces and line ends around entries are ignored. Raises KeyRingError that names every
        bad entry by its position, and by its name where it has a valid one, never by what else
        was written there: a misplaced secret must not reach a log.
        """
        problems: list[str] = []
        keys: list[RingKey] = []
        for position, entry in enumerate(text.split(","), start=1):
            try:
                key = _parse_entry(entry.strip(), position)
                _require_new(key, keys, position)
            except ValueError as error:
                problems.append(str(error))
            else:
                keys.append(key)
        if problems:
            raise KeyRingError(problems)
        return cls(tuple(keys))


def _parse_entry(entry: str, position: int) -> RingKey:
    if not entry:
        raise ValueError(f"entry {position} is empty")
    name, colon, encoded = entry.partition(":")
    if not colon:
        raise ValueError(f"entry {position} is not of the form name:base64")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"entry {position} has a bad name: use 1 to 32 letters, digits, '.', '_' or '-'"
        )
    try:
        secret = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError(f"entry {position} ({name}) is not valid base64") from None
    if len(secret) != KEY_SIZE_BYTES:
        raise ValueError(
            f"entry {position} ({name}) has {len(secret)} bytes instead of {KEY_SIZE_BYTES}"
        )
    return RingKey(name, secret)


def _require_new(key: RingKey, earlier: list[RingKey], position: int) -> None:
    for other in earlier:
        if other.name == key.name:
            raise ValueError(f"entry {position} ({key.name}) repeats a name")
        if other.secret == key.secret:
            # A rotation that keeps the old bytes under a new name rotates nothing.
            raise ValueError(f"entry {position} ({key.name}) has the same bytes as {other.name}")
