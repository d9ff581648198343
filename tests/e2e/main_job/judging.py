"""Holds a delivered message against the request that it came from, with other people's parsers."""

import base64
import email
import mimetypes
from collections.abc import Iterator
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser
from email.policy import compat32, default
from email.utils import getaddresses, parseaddr
from typing import Any

import idna

from tallypost_providers.dkim import dns_record
from tests.support.corpus import Request
from tests.support.database import dkim_public_keys
from tests.unit.providers.dkim_judge import verifies


def envelope(request: Request) -> list[str]:
    """Every mailbox that gets a copy, once, in its ASCII form, sorted."""
    return sorted({_ascii(text) for name in ("to", "cc", "bcc") for text in request.get(name, ())})


def parse(message: bytes) -> EmailMessage:
    """The message as the standard library reads it."""
    parsed = email.message_from_bytes(message, policy=default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def list_defects(parsed: EmailMessage) -> list[object]:
    """What the standard library finds wrong with a message, its parts and their headers."""
    found: list[object] = []
    for part in parsed.walk():
        found += part.defects
        for value in part.values():
            found += value.defects
    return found


def list_hidden_shown(request: Request, message: bytes, parsed: EmailMessage) -> list[str]:
    """Hidden recipients that a reader of the message could find out about."""
    seen = message.decode("ascii", "replace").lower()
    for part in parsed.walk():
        seen += "\n".join(f"{name}: {value}" for name, value in part.items()).lower()
        if part.get_content_maintype() == "text":
            seen += part.get_content().lower()
    names = {name.lower() for name in parsed}
    return [
        *(f"{name}:" for name in names if name == "bcc" or name.startswith("resent-")),
        *(text for text in request.get("bcc", ()) if text.partition("@")[0].lower() in seen),
    ]


def described(request: Request) -> dict[str, object]:
    """What a reader of the message should see, from the request."""
    return {
        "subject": request["subject"],
        "from": [_mailbox(request["from"])],
        "to": [_mailbox(text) for text in request["to"]],
        "cc": [_mailbox(text) for text in request.get("cc", ())],
        "reply-to": [_mailbox(text) for text in request.get("reply_to", ())],
        "headers": request.get("headers", {}),
        "text": _with_line_end(request.get("text")),
        "html": _with_line_end(request.get("html")),
        "attachments": [_attachment(item) for item in _in_order(request)],
    }


def seen(message: bytes, parsed: EmailMessage, request: Request) -> dict[str, object]:
    """What a reader of the message does see; request only says which own headers to look at."""
    head = BytesHeaderParser(policy=compat32).parsebytes(message)
    bodies: dict[str, str] = {}
    attachments = []
    for part in _leaves(parsed):
        if part.get_filename() is None:
            kind = part.get_content_subtype()
            assert kind not in bodies, "two bodies of one kind"
            # Lines end with CRLF on the wire, and base64 shows it.
            bodies[kind] = part.get_content().replace("\r\n", "\n")
        else:
            attachments.append(
                (
                    part.get_filename(),
                    part.get_content_type(),
                    part["Content-ID"],
                    part.get_content_disposition(),
                    part.get_payload(decode=True),
                )
            )
    return {
        "subject": str(_only(parsed, "Subject")),
        "from": _addresses(head, "From"),
        "to": _addresses(head, "To"),
        "cc": _addresses(head, "Cc"),
        "reply-to": _addresses(head, "Reply-To"),
        "headers": {name: str(_only(parsed, name)) for name in request.get("headers", {})},
        "text": bodies.pop("plain", None),
        "html": bodies.pop("html", None),
        "attachments": attachments,
        **bodies,
    }


def list_verified(message: bytes, parsed: EmailMessage, domain: str) -> list[str]:
    """Algorithms of the signatures that dkimpy verifies and that are the sending domain's."""
    verified = []
    for index, value in enumerate(parsed.get_all("DKIM-Signature", [])):
        tags = dict(pair.strip().split("=", 1) for pair in str(value).split(";") if "=" in pair)
        if tags["d"] == domain and verifies(message, index, find_sample_key):
            verified.append(tags["a"])
    return sorted(verified)


def find_sample_key(name: bytes, timeout: int = 5) -> bytes:
    """What DNS would say about the keys of the sample tenants."""
    selector, _, place = name.decode("ascii").partition("._domainkey.")
    if not place.endswith("example.com."):
        return b""
    key = dkim_public_keys()[selector]
    record = dns_record("rsa-sha256" if selector == "tp1" else "ed25519-sha256", key)
    return record.encode("ascii")


def _leaves(parsed: EmailMessage) -> Iterator[EmailMessage]:
    for part in parsed.walk():
        assert isinstance(part, EmailMessage)
        if not part.is_multipart():
            yield part


def _only(parsed: EmailMessage, name: str) -> Any:
    values = parsed.get_all(name, [])
    assert len(values) == 1, f"{len(values)} headers {name}"
    return values[0]


def _addresses(head: "Message[str, str]", name: str) -> list[tuple[str, str]]:
    # The newer parser keeps the space between two encoded words of a name, against RFC 2047,
    # section 6.2; the older one does not.
    values = head.get_all(name, [])
    assert len(values) <= 1, f"{len(values)} headers {name}"
    return [
        (str(make_header(decode_header(display_name))), address)
        for display_name, address in getaddresses(values)
    ]


def _mailbox(text: str) -> tuple[str, str]:
    return parseaddr(text)[0], _ascii(text)


def _ascii(text: str) -> str:
    local_part, _, domain = parseaddr(text)[1].rpartition("@")
    return f"{local_part}@{idna.encode(domain, uts46=True).decode('ascii')}"


def _with_line_end(text: str | None) -> str | None:
    # A body on the wire is made of lines.
    return text if text is None or text.endswith("\n") else f"{text}\n"


def _in_order(request: Request) -> list[dict[str, Any]]:
    # Inline images stand beside the html, before the other attachments.
    return sorted(request.get("attachments", ()), key=lambda item: "content_id" not in item)


def _attachment(item: dict[str, Any]) -> tuple[str, str, str | None, str, bytes]:
    content = item["content"]
    content_id = item.get("content_id")
    return (
        item["filename"],
        mimetypes.guess_type(item["filename"])[0] or "application/octet-stream",
        f"<{content_id}>" if content_id else None,
        "inline" if content_id else "attachment",
        base64.b64decode(content) if isinstance(content, str) else bytes(content),
    )
