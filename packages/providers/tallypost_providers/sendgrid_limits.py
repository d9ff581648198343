"""What SendGrid does not take, found out before it is asked."""

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.mime import write_message
from tallypost_providers.sendgrid_envelope import Envelope, read_envelope
from tallypost_providers.types import Outcome, OutgoingEmail

# twilio.com/docs/sendgrid/api-reference/mail-send/limitations: "less than 30MB", with attachments.
# It does not say which megabytes; in between SendGrid itself decides.
MAX_BYTES = 30 * 1024 * 1024
MAX_RECIPIENTS = 1000  # The same page: To, Cc and Bcc together.
# The API's reserved headers that the platform does not reserve for every provider.
_RESERVED_HEADERS = frozenset({"x-sg-id", "x-sg-eid"})


class Refusal(Struct, frozen=True):
    """Why SendGrid is not asked."""

    outcome: Outcome
    phase: str
    detail: str
    enhanced_code: str | None = None


def find_obstacle(email: OutgoingEmail) -> str | None:
    """Why an email must not be routed to SendGrid, or None. A pure function.

    An email that nobody could build gets None: that is no matter of routing.
    """
    try:
        refusal = find_refusal(email, read_envelope(email))
    except EmailNotBuildable:
        return None
    return refusal.detail if refusal else None


def require_buildable(email: OutgoingEmail) -> None:
    """Raise EmailNotBuildable, as every provider does, for what can be no message at all."""
    bare = [replace(attachment, body=b"") for attachment in email.attachments]
    # Everything but the bodies: they cost the time, and any text and any bytes can be one.
    write_message(replace(email, text=None, html=None, attachments=tuple(bare)))
    measure_bytes(email)


def find_refusal(email: OutgoingEmail, envelope: Envelope) -> Refusal | None:
    """Why SendGrid is not to be asked, or None.

    UNAVAILABLE where another attempt may be free of it, REJECTED for a limit of SendGrid's, which
    lasts. Raises EmailNotBuildable as `measure_bytes` does.
    """
    if not envelope.is_whole:
        detail = "To or Cc names somebody who is not to get it now, and SendGrid would send to all."
        return Refusal(Outcome.UNAVAILABLE, "envelope", detail)
    if not envelope.to:
        return _limit("envelope", "SendGrid takes no email without an address in To.")
    if envelope.size > MAX_RECIPIENTS:
        detail = f"The email has {envelope.size} recipients, SendGrid takes {MAX_RECIPIENTS}."
        return _limit("envelope", detail, "5.5.3")
    if not email.subject:
        return _limit("content", "SendGrid takes no email without a subject.")
    if not email.text and not email.html:
        return _limit("content", "SendGrid takes no email without content.")
    if not all(attachment.body for attachment in email.attachments):
        return _limit("content", "SendGrid takes no attachment that is empty.")
    if any(name.lower() in _RESERVED_HEADERS for name in email.headers):
        return _limit("content", "SendGrid reserves the headers X-SG-ID and X-SG-EID.")
    size_bytes = measure_bytes(email)
    if size_bytes >= MAX_BYTES:
        detail = f"The email has {size_bytes} bytes, SendGrid takes fewer than {MAX_BYTES}."
        return _limit("size", detail, "5.3.4")
    return None


def measure_bytes(email: OutgoingEmail) -> int:
    """The size of the bodies as they travel: text in JSON, attachments in base64.

    Raises EmailNotBuildable for half a surrogate pair.
    """
    attached = sum([(len(attachment.body) + 2) // 3 * 4 for attachment in email.attachments])
    return attached + _json_bytes(email.text or "", "text") + _json_bytes(email.html or "", "html")


def _limit(phase: str, detail: str, enhanced_code: str | None = None) -> Refusal:
    return Refusal(Outcome.REJECTED, phase, detail, enhanced_code)


def _json_bytes(text: str, field: str) -> int:
    try:
        # Less its two quotes. A mark or a line end in the text takes two bytes.
        return len(msgspec.json.encode(text)) - 2
    except UnicodeEncodeError as error:
        raise EmailNotBuildable("A body is not Unicode text.", field=field) from error
