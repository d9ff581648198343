"""Commands that do from a terminal what a page shows."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from tallypost_domain.emails.validation import STREAM_NAME
from tallypost_domain.emails.views import EmailView

MAX_BODY_CHARS: Final = 20_000


class Command(Struct, frozen=True):
    """A command, and what of the email it does not send, in words."""

    text: str
    left_out: tuple[str, ...]


def curl_command(email: EmailView, headers: Mapping[str, str], *, has_attachments: bool) -> Command:
    """Sends the same email by the API, as far as that fits into a command.

    headers are the email's own. The address of the API and the key stand in variables of the shell.
    """
    fields = {
        "from": email.from_header,
        "to": list(email.to),
        "cc": list(email.cc),
        "bcc": list(email.bcc),
        "reply_to": list(email.reply_to),
        "subject": email.subject,
        "html": _body(email.html),
        "text": _body(email.text),
        "tags": [{"name": tag.name, "value": tag.value} for tag in email.tags],
        "headers": {**headers, **_stream(email.stream)},
    }
    # An empty subject or body is one; an empty list is none.
    given = {name: value for name, value in fields.items() if value not in (None, [], {})}
    body = json.dumps(given, ensure_ascii=False, indent=2)
    text = (
        'curl -X POST "$API/emails" \\\n'
        '  -H "Authorization: Bearer $KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{_quoted(body)}'"
    )
    return Command(text, tuple(_left_out(email, has_attachments)))


def _left_out(email: EmailView, has_attachments: bool) -> Iterator[str]:
    for kind, text in (("HTML", email.html), ("text", email.text)):
        if text is not None and _body(text) is None:
            yield f"its {kind} body, which is longer than {MAX_BODY_CHARS:,} characters"
    if has_attachments:
        yield "its attachments"
    if email.scheduled_at is not None:
        yield "the time that it was scheduled for"
    if not _stream(email.stream):
        yield f"its stream {email.stream}, which is that of the key and cannot be named otherwise"


def _body(text: str | None) -> str | None:
    return text if text is not None and len(text) <= MAX_BODY_CHARS else None


def _stream(name: str) -> dict[str, str]:
    return {"X-Tallypost-Stream": name} if STREAM_NAME.fullmatch(name) else {}


def _quoted(text: str) -> str:
    """Fit to stand between single quotes in a shell."""
    return text.replace("'", "'\\''")
