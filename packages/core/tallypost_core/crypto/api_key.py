"""The text of an API key, whose checksum tells a typing mistake from a real key without I/O.

`tp_live_` or `tp_test_`, 32 random base62 characters (190 bits), then 6 base62 characters of the
CRC-32 (the one of zlib and PNG) of everything before them. The base62 digits are 0-9, A-Z, a-z in
this order; the checksum has its most significant digit first and is padded with 0. The checksum
proves nothing about authenticity: anyone can compute it.
"""

import re
import secrets
import string
import zlib
from typing import Literal, cast

APIKeyMode = Literal["live", "test"]

API_KEY_PATTERN = r"tp_(?:live|test)_[0-9A-Za-z]{38}"
"""Matches every API key; for secret scanners and redaction."""

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH = 32
_CHECKSUM_LENGTH = 6
_FORM = re.compile(API_KEY_PATTERN)
_MODE = slice(3, 7)


def new_api_key(mode: APIKeyMode) -> str:
    """A fresh API key. Show it once and store `hash_secret` of it."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    text = f"tp_{mode}_{body}"
    return text + _checksum(text)


def parse_api_key(text: str) -> APIKeyMode | None:
    """The mode that a well-formed API key names, or None where form or checksum is wrong."""
    if not _FORM.fullmatch(text):
        return None
    if _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        return None
    return cast(APIKeyMode, text[_MODE])


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode("ascii"))
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
