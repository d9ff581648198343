"""The message that goes on the wire: built, then signed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from tallypost_providers.dkim import signature_fields
from tallypost_providers.mime import write_message
from tallypost_providers.types import OutgoingEmail

# With this much HTML a message takes 0.8 ms on a shared core, signed with RSA-2048, or 1.3 ms where
# it needs quoted-printable, and the event loop makes it itself: a trip to a thread costs a quarter
# of the time that it frees, and with the second core busy, as under load it is, frees nothing. The
# decision record on signing has the measurements of that trip.
_LARGE_BYTES = 128 * 1024
# Starts no thread before the first large email.
_threads = ThreadPoolExecutor(2, thread_name_prefix="render")


def render(email: OutgoingEmail) -> bytes:
    """The email as signed MIME bytes, for providers that take raw MIME and do not sign.

    A pure function: the same email gives the same bytes in any process.
    Raises EmailNotBuildable, and its kind SigningKeyInvalid.
    """
    written = write_message(email)
    signatures = signature_fields(written.fields, written.body, email.dkim_keys, email.created_at)
    return b"".join((signatures, written.head, *written.body))


async def render_async(email: OutgoingEmail) -> bytes:
    """As `render`; a large email is left to a thread, so that the event loop goes on."""
    if _size_bytes(email) <= _LARGE_BYTES:
        return render(email)
    return await asyncio.get_running_loop().run_in_executor(_threads, render, email)


def _size_bytes(email: OutgoingEmail) -> int:
    attached = sum([len(attachment.body) for attachment in email.attachments])
    return attached + _utf8_bytes(email.html or "") + _utf8_bytes(email.text or "")


def _utf8_bytes(text: str) -> int:
    """The text's size as UTF-8; of one with more characters than _LARGE_BYTES only a lower bound,
    which is enough to call it large."""
    if text.isascii() or len(text) > _LARGE_BYTES:
        return len(text)
    # Half a surrogate pair is refused where the message is built.
    return len(text.encode("utf-8", "surrogatepass"))
