"""The last line of defence against secrets and addresses in logs.

A safety net, not a licence: code never logs tokens, addresses, subjects or bodies, but an
exception of a library may quote one. What has a recognisable form is replaced here; a subject
or a body has none, so nothing here can catch it.
"""

import math
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from structlog.typing import EventDict, WrappedLogger

from tallypost_core.crypto.api_key import API_KEY_PATTERN

HIDDEN = "[hidden]"

_MAX_DEPTH = 6

_SECRET_FIELD = re.compile(
    r"(?i)(?:^|[_-])(?:authorization|cookie|password|secret|token|api[_-]key|private[_-]key)$"
)
_API_KEY = re.compile(API_KEY_PATTERN.replace("{38}", "+"))
_AUTHORIZATION = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")
_AUTHORIZATION_HEADER = re.compile(r"(?i)\b((?:proxy-)?authorization['\"]?\s*[:=,]\s*)[^\r\n]+")
_URL_LOGIN = re.compile(r"(?<=://)[^\s/@]+@")
# The look-behind lets a match begin only where a word does: a long text without an address is
# scanned once, not once for each of its characters.
_LOCAL_PART = r"\w.!#$%&'*+/=?^`{|}~-"
_ADDRESS = re.compile(
    rf"(?:(?<![{_LOCAL_PART}])[{_LOCAL_PART}]+|\"[^\"\r\n]{{1,64}}\")"
    r"@(?:\[[^\]\s]{1,64}\]|\w[\w.-]*)"
)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace what looks like a secret or an address, in every value at any depth.

    A structlog processor. What remains holds only text, numbers, booleans, None, lists and
    dicts, so that no renderer can bring back more than was seen here.
    """
    return _redact_mapping(event, 0)


def redact_text(text: str) -> str:
    """The text with API keys, credentials and e-mail addresses replaced."""
    text = _API_KEY.sub("[api key]", text)
    text = _AUTHORIZATION_HEADER.sub(rf"\1{HIDDEN}", text)
    text = _AUTHORIZATION.sub(rf"\1 {HIDDEN}", text)
    if "@" in text:
        text = _URL_LOGIN.sub(f"{HIDDEN}@", text)
        text = _ADDRESS.sub("[address]", text)
    return text


# Any: a field of a log event may hold whatever its caller has.
def _redact_mapping(mapping: Mapping[Any, Any], depth: int) -> dict[str, object]:
    redacted: dict[str, object] = {}
    for key, value in mapping.items():
        name = redact_text(str(key))
        hides = value is not None and _SECRET_FIELD.search(name)
        redacted[name] = HIDDEN if hides else _redact(value, depth + 1)
    return redacted


def _redact(value: object, depth: int) -> object:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        # JSON knows no NaN and no infinity.
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return redact_text(str(value))
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            return _redact_mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return [_redact(item, depth + 1) for item in value]
    return redact_text(repr(value))
