"""The message that goes on the wire: built, then signed."""

import asyncio

from tallypost_providers.dkim import sign
from tallypost_providers.mime import build_message
from tallypost_providers.types import OutgoingEmail

# Building 256 kB takes a few milliseconds; beyond it the event loop would feel it.
_IN_LOOP_MAX_BYTES = 256 * 1024


def render(email: OutgoingEmail) -> bytes:
    """The email as signed MIME bytes, for providers that take raw MIME and do not sign.

    A pure function: the same email gives the same bytes in any process.
    Raises EmailNotBuildable, and its kind SigningKeyInvalid.
    """
    return sign(build_message(email), email.dkim_keys, email.created_at)


async def render_async(email: OutgoingEmail) -> bytes:
    """As `render`, in a thread where the email is large, so that other sends go on meanwhile."""
    size_bytes = sum(len(attachment.body) for attachment in email.attachments)
    size_bytes += len(email.html or "") + len(email.text or "")
    if size_bytes <= _IN_LOOP_MAX_BYTES:
        return render(email)
    return await asyncio.to_thread(render, email)
