"""Bounds on what one process accepts at one time."""

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of one process; the defaults are for production."""

    flushes: int = 1
    """In flight at one time. More make smaller groups, which cost the database more (measured)."""
    flush_emails: int = 200
    flush_bytes: int = 2_000_000
    held_emails: int = 5_000
    """Taken on and not yet answered."""
    held_bytes: int = 128_000_000
    large_bytes: int = 128_000
    """A larger request goes by itself: it would hold up everybody who shares its commit."""
    large_in_flight: int = 2
    large_in_flight_bytes: int = 48_000_000
    apart: int = 2
    """Failed flushes that are written one by one at one time."""
    patient: int = 2
    """Requests that wait for a twin in another process at one time."""
    brief_wait_ms: int = 50
    """How long a flush waits for a key that another transaction holds."""
    patient_wait_ms: int = 3_000
    """How long, after that, a request by itself waits for it."""
    fetches: int = 4
    """Requests whose attachments are being fetched and stored at one time."""
    fetched_bytes: int = 40_000_000
    """Of the emails of one request together, once their attachments are fetched."""
    fetch_within_s: float = 20.0

    @property
    def connections(self) -> int:
        """How many connections all of that needs."""
        look_ups = 2
        return self.flushes + self.large_in_flight + self.apart + self.patient + look_ups
