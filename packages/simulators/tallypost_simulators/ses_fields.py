"""Reads fields of requests as strictly as SES does."""

from collections.abc import Mapping
from typing import Any

from tallypost_simulators.ses_errors import SESError, bad_request

# Any: JSON of a client, looked at field by field.
Fields = Mapping[str, Any]


def text(fields: Fields, name: str) -> str | None:
    """A text or nothing."""
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise _wrong_type(name)


def required_text(fields: Fields, name: str) -> str:
    """A text that must be there and not empty."""
    value = text(fields, name)
    if not value:
        raise bad_request(f"Missing required field {name}.")
    return value


def structure(fields: Fields, name: str) -> Fields:
    """An object; empty where there is none."""
    value = fields.get(name)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise _wrong_type(name)


def texts(fields: Fields, name: str) -> list[str]:
    """A list of texts; empty where there is none."""
    value = fields.get(name)
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise _wrong_type(name)


def pairs(fields: Fields, name: str, key: str) -> list[dict[str, str]]:
    """A list of objects with a text under `key` and under `Value`; empty where there is none."""
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _wrong_type(name)
    return [{key: required_text(item, key), "Value": text(item, "Value") or ""} for item in value]


def _wrong_type(name: str) -> SESError:
    return SESError(400, "SerializationException", f"The type of {name} is wrong.")
