"""Remembers since when the look-ups of emails fail, so that nobody waits for an answer for ever."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

# Emails remembered at a time. One that finds no room only waits longer.
_SIZE: Final = 10_000
# Times the patience after which an email that is still remembered was settled by another process.
_STALE_AFTER: Final = 4


class Patience:
    """How long a process waits for each email that it looks up in vain.

    It counts from the first look-up that failed and not from the silence: an email that nobody
    asked about during an outage, or while its tenant was on hold, has all of it left. A process
    that starts has forgotten, which lets an email wait longer and sends nothing sooner; for the
    rest there is `LookUpWaits.longest_s`.
    """

    def __init__(self, patience_s: float, clock_s: Callable[[], float]) -> None:
        self._patience_s = patience_s
        self._clock_s = clock_s
        # Oldest first.
        self._since_s: dict[UUID, float] = {}

    def is_over(self, email_id: UUID, silence_age_s: float) -> bool:
        """Note that a look-up failed; True where the email has waited for long enough."""
        now_s = self._clock_s()
        since_s = self._since_s.get(email_id)
        if since_s is None or since_s < now_s - silence_age_s:
            # Not known, or of an earlier silence of this email.
            since_s = now_s
            self._begin(email_id, now_s)
        return now_s - since_s >= self._patience_s

    def forget(self, email_id: UUID) -> None:
        """Note that an email waits no longer, or that its provider told."""
        self._since_s.pop(email_id, None)

    def _begin(self, email_id: UUID, now_s: float) -> None:
        self.forget(email_id)
        stale_s = now_s - _STALE_AFTER * self._patience_s
        while self._since_s:
            oldest = next(iter(self._since_s))
            if self._since_s[oldest] >= stale_s:
                break
            del self._since_s[oldest]
        if len(self._since_s) < _SIZE:
            self._since_s[email_id] = now_s
