"""Judges the contents of a Mail Send request: bodies, attachments and headers.

The rules and the words are those of twilio.com/docs/sendgrid/api-reference/mail-send/errors.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from tallypost_simulators.sendgrid_errors import FieldError

_RESERVED_HEADERS = frozenset(
    {
        "x-sg-id",
        "x-sg-eid",
        "received",
        "dkim-signature",
        "content-type",
        "content-transfer-encoding",
        "to",
        "from",
        "subject",
        "reply-to",
        "cc",
        "bcc",
    }
)
_HEADER_NAME = re.compile(r"[!-9;-~]+")
_TYPE_ORDER = {"text/plain": 0, "text/html": 2}


def judge_content(mail: dict[str, Any]) -> Iterator[FieldError]:
    """The bodies: at least one, none empty, plain text before HTML."""
    content = mail.get("content")
    if content is None and "template_id" in mail:
        return
    if not isinstance(content, list) or not content:
        message = "Unless a valid template_id is provided, the content parameter is required. There"
        yield FieldError(f"{message} must be at least one defined content block.", "content")
        return
    for place, part in enumerate(content):
        for key in ("type", "value"):
            if not isinstance(part.get(key), str) or not part[key]:
                message = f"The content {key} must be a string at least one character in length."
                yield FieldError(message, f"content.{place}.{key}", f"message.content.{key}")
                return
        if re.search("[;\r\n]", part["type"]):
            yield FieldError("Cannot contain ';', or CRLF characters.", f"content.{place}.type")
    order = [_TYPE_ORDER.get(part["type"], 1 if "amp" in part["type"] else 3) for part in content]
    if order != sorted(order):
        message = (
            "Following RFC 1341, section 7.2, if either text/html or text/plain are to be sent"
        )
        yield FieldError(f"{message} in your email: text/plain needs to be first.", "content")


def judge_attachments(attachments: Any) -> Iterator[FieldError]:
    """Each attachment: a name, and base64 that is not empty."""
    for place, item in enumerate(attachments):
        field = f"attachments.{place}"
        content = item.get("content")
        if not isinstance(content, str) or not content:
            message = "The attachment content must be a string at least one character in length."
            yield FieldError(message, f"{field}.content", "message.attachments.content")
        elif not _is_base64(content):
            message = "The attachment content must be base64 encoded."
            yield FieldError(message, f"{field}.content", "message.attachments.content")
        if not isinstance(item.get("filename"), str):
            yield FieldError("filename is required.", f"{field}.filename")
        for key, forbidden in (
            ("filename", "[;,\r\n]"),
            ("type", "[;\r\n]"),
            ("content_id", "[;\r\n]"),
        ):
            if re.search(forbidden, str(item.get(key, ""))):
                message = f"The {key} can't contain ';', or CRLF characters."
                yield FieldError(message, f"{field}.{key}", f"message.attachments.{key}")
        if "type" in item and not item["type"]:
            message = "The attachment type must be a string and at least one character in length."
            yield FieldError(message, f"{field}.type")
        if item.get("disposition", "attachment") not in {"inline", "attachment"}:
            message = 'The disposition of your attachment can be either "inline" or "attachment".'
            yield FieldError(message, f"{field}.disposition")


def _is_base64(content: str) -> bool:
    try:
        base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def judge_headers(headers: Any, field: str) -> Iterator[FieldError]:
    """Custom headers, of the request or of one personalization."""
    if not isinstance(headers, dict) or not all(isinstance(item, str) for item in headers.values()):
        yield FieldError("The header values must be strings.", field, "message.headers")
        return
    names = [name.lower() for name in headers]
    if len(set(names)) != len(names):
        yield FieldError("The headers can't contain duplicate keys.", field, "message.headers")
    for name in names:
        if not _HEADER_NAME.fullmatch(name):
            message = "Header keys can't contain non-ASCII characters and empty spaces."
            yield FieldError(message, field, "message.headers")
        if name in _RESERVED_HEADERS:
            message = "Header can not be one of the reserved keys."
            yield FieldError(message, field, "message.headers")
