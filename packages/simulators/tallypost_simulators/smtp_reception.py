"""What the SMTP sink takes and counts, whichever session it came by."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Awaitable, Callable

from msgspec import Struct

from tallypost_simulators.smtp_faults import Faults

_EMAIL_ID = re.compile(rb"(?:\A|\r\n)x-tallypost-email-id:[ \t]*(\S+)", re.IGNORECASE)


class ReceivedMessage(Struct, frozen=True):
    """A message as a client handed it over."""

    envelope_sender: str
    recipients: tuple[str, ...]
    """Every address of RCPT, hidden recipients included, in the client's order."""
    body: bytes
    """The whole message, header and content, with dot-stuffing taken off."""
    received_at: dt.datetime

    @property
    def email_id(self) -> str:
        """What X-Tallypost-Email-Id in the header says; empty without one."""
        head_end = self.body.find(b"\r\n\r\n")
        match = _EMAIL_ID.search(self.body, 0, head_end if head_end >= 0 else len(self.body))
        return match[1].decode("latin-1") if match else ""


OnMessage = Callable[[ReceivedMessage], Awaitable[None]]
"""Keeps a message; raises what `keeping` has, or else anything: not kept now."""


class Reception:
    """What all sessions of one sink share."""

    def __init__(
        self,
        faults: Faults,
        max_size_bytes: int,
        on_message: OnMessage | None,
        *,
        is_counting: bool,
    ) -> None:
        self.faults = faults
        self.max_size_bytes = max_size_bytes
        self.on_message = on_message
        self.is_counting = is_counting
        self.counts: Counter[tuple[str, str]] = Counter()
        self.taken = 0

    def note(self, message: ReceivedMessage) -> None:
        """Count a message that was taken, once for each recipient where counting is on."""
        self.taken += 1
        if self.is_counting:
            email_id = message.email_id
            for recipient in message.recipients:
                self.counts[email_id, recipient] += 1
