"""What is sent in an experiment: each send is known by its number, so that it can be judged."""

from msgspec import Struct

from tests.support.database import SeededTenant

STREAMS = ("transactional", "bulk")
"""Both policies for handovers of unknown outcome: the first sends again, the second holds."""

SENDS_AGAIN = "transactional"

GONE = "gone-"
"""How the recipients begin whose mail server refuses them for good."""

_MOST_RECIPIENTS = 3


class Plan(Struct, frozen=True, kw_only=True):
    """A series of sends of one tenant; nobody gets two of them."""

    name: str
    """Makes the keys and recipients of this series its own; holds no `-`."""
    tenant: SeededTenant
    count: int
    streams: tuple[str, ...] = STREAMS
    """Taken in turn."""
    most_recipients: int = _MOST_RECIPIENTS
    gone_every: int = 0
    """The first recipient of every so many is a `GONE` one; 0 for none."""

    def stream(self, number: int) -> str:
        """The stream of a send."""
        return self.streams[number % len(self.streams)]

    def recipients(self, number: int) -> list[str]:
        """Who gets a copy of a send."""
        # By another rule than the stream, so that each stream has sends of each size.
        size = 1 + number // len(self.streams) % self.most_recipients
        is_gone = bool(self.gone_every) and number % self.gone_every == 0
        return [
            f"{GONE if is_gone and position == 0 else ''}{self.name}-{number}-{position}"
            "@recipient.test"
            for position in range(size)
        ]

    def request(self, number: int) -> dict[str, object]:
        """A send as a client writes it."""
        return {
            "from": f"hello@{self.tenant.domain}",
            "to": self.recipients(number),
            "subject": f"{self.name} {number}",
            "text": f"Sample text of send {number}.",
            "headers": {"X-Tallypost-Stream": self.stream(number)},
        }

    def key(self, number: int) -> str:
        """The idempotency key of a send."""
        return f"{self.name}-{number}"
