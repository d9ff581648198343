"""Commands that do from a terminal what a page shows."""

import json
from typing import Final

from tallypost_domain.emails.views import EmailView

MAX_BODY_CHARS: Final = 20_000


def curl_command(email: EmailView) -> str:
    """Sends the same email by the API.

    Left out are bodies over 20,000 characters, attachments, headers of its own and its time. The
    address of the API and the key stand in variables of the shell.
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
        "headers": {"X-Tallypost-Stream": email.stream},
    }
    # An empty subject or body is one; an empty list is none.
    given = {name: value for name, value in fields.items() if value not in (None, [])}
    body = json.dumps(given, ensure_ascii=False, indent=2)
    return (
        'curl -X POST "$API/emails" \\\n'
        '  -H "Authorization: Bearer $KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{_quoted(body)}'"
    )


def _body(text: str | None) -> str | None:
    return text if text is not None and len(text) <= MAX_BODY_CHARS else None


def _quoted(text: str) -> str:
    """Fit to stand between single quotes in a shell."""
    return text.replace("'", "'\\''")
