"""The email that everybody sends: 10 kB of HTML, one recipient, no links, sample text."""

import datetime as dt
import random
from collections.abc import Sequence
from uuid import UUID

from tallypost_providers.message import render
from tallypost_providers.types import DKIMKey, EnvelopeRecipient, OutgoingEmail

HTML_BYTES = 10_000

_TEXT = (
    "account order receipt total amount thank you for your purchase of the following items they "
    "will arrive within three working days at the address below if anything is missing please "
    "reply to this message and somebody of our team will look into it as soon as possible"
)
_ROW = (
    '<tr><td style="padding:8px 12px;border-bottom:1px solid #e5e7eb">{item}</td>'
    '<td style="padding:8px 12px;text-align:right">{price}</td></tr>\n'
)
_HEAD = (
    '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Your receipt</title>'
    "</head>\n<body style=\"margin:0;background:#f4f4f5;font-family:'Helvetica Neue',Arial\">\n"
    '<table role="presentation" width="600" align="center">\n'
)
_FOOT = "</table>\n</body>\n</html>\n"
_SOME_ID = UUID("01940000-0000-7000-8000-000000000001")


def html() -> str:
    """The body: the same HTML_BYTES characters in every run, all ASCII, no line over 200."""
    chance = random.Random(7)  # noqa: S311 - makes sample text.
    words = _TEXT.split()
    rows: list[str] = []
    room = HTML_BYTES - len(_HEAD) - len(_FOOT)
    while room > 0:
        item = " ".join(chance.choices(words, k=9))
        row = _ROW.format(item=item, price=f"{chance.randrange(100, 99_999) / 100:.2f}")
        # The last row is padded or cut to size; a comment is valid at its place.
        row = row if len(row) + 10 < room else f"<!--{'x' * (room - 8)}-->\n"
        rows.append(row)
        room -= len(row)
    return _HEAD + "".join(rows) + _FOOT


def request(sender: str, to: Sequence[str], subject: str) -> dict[str, object]:
    """The email as a request to the API."""
    return {"from": sender, "to": to, "subject": subject, "html": html()}


def outgoing(sender: str, to: str, dkim_keys: tuple[DKIMKey, ...] = ()) -> OutgoingEmail:
    """The email as a worker hands it to the MIME writer."""
    return OutgoingEmail(
        tenant_id=_SOME_ID,
        email_id=_SOME_ID,
        mode="live",
        created_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        from_header=sender,
        envelope_sender=sender,
        to=(to,),
        cc=(),
        reply_to=(),
        subject="Your receipt",
        html=html(),
        text=None,
        headers={},
        attachments=(),
        recipients=(EnvelopeRecipient(recipient_id=_SOME_ID, address=to, kind="to"),),
        dkim_keys=dkim_keys,
        tags={},
    )


def message(sender: str, to: str) -> bytes:
    """The email on the wire, unsigned, as our MIME writer makes it: what mail systems inject."""
    return render(outgoing(sender, to))
