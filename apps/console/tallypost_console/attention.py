"""What somebody should look at, the most harmful first."""

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from tallypost_console.addresses import address_of
from tallypost_console.words import plural, share
from tallypost_domain.emails.lifecycle import RecipientStatus
from tallypost_domain.queue.waiting import QueueCounts
from tallypost_providers.types import Mode

# Gmail's published limits for senders: stay below the first, never reach the second.
COMPLAINTS_AMBER: Final = 0.001
COMPLAINTS_RED: Final = 0.003
BOUNCES_AMBER: Final = 0.05
# A share of fewer emails than these says little.
ENOUGH: Final = 50


class Concern(Struct, frozen=True):
    """One line of the list."""

    tone: str
    text: str
    action: str
    href: str


def list_concerns(
    mode: Mode, week: Mapping[RecipientStatus, int], queue: QueueCounts, dead_letters: int
) -> list[Concern]:
    """week is the emails of the last seven days by status."""
    return [
        *_complaints(mode, week),
        *_dead_letters(mode, dead_letters),
        *_parked(mode, queue),
        *_bounces(mode, week),
        *_held(mode, queue),
    ]


def has_many_bounces(week: Mapping[RecipientStatus, int]) -> bool:
    """True where more emails bounce than is healthy, of enough to say so."""
    whole = sum(week.values())
    return whole >= ENOUGH and week.get(RecipientStatus.BOUNCED, 0) / whole >= BOUNCES_AMBER


def _complaints(mode: Mode, week: Mapping[RecipientStatus, int]) -> Iterator[Concern]:
    whole = sum(week.values())
    part = week.get(RecipientStatus.COMPLAINED, 0)
    if whole >= ENOUGH and part / whole >= COMPLAINTS_AMBER:
        yield Concern(
            "danger" if part / whole >= COMPLAINTS_RED else "warning",
            f"{share(part, whole)} of this week's emails were reported as spam. "
            "Large mailbox providers begin to refuse mail at 0.1 to 0.3 %.",
            "See the complaints",
            address_of("/emails", mode=mode, q="status:complained"),
        )


def _dead_letters(mode: Mode, number: int) -> Iterator[Concern]:
    if number:
        yield Concern(
            "danger",
            f"{plural(number, 'recipient')} given up; somebody has to decide whether to try again.",
            "See the dead letters",
            address_of("/queue/dead-letters", mode=mode),
        )


def _parked(mode: Mode, queue: QueueCounts) -> Iterator[Concern]:
    if queue.ambiguous or "ambiguous" in queue.incomplete:
        yield Concern(
            "warning",
            f"{_emails(queue, 'ambiguous')} may have arrived; somebody has to decide whether "
            "to send again.",
            "Decide",
            address_of("/queue", mode=mode, only="ambiguous"),
        )


def _bounces(mode: Mode, week: Mapping[RecipientStatus, int]) -> Iterator[Concern]:
    if has_many_bounces(week):
        part, whole = week[RecipientStatus.BOUNCED], sum(week.values())
        yield Concern(
            "warning",
            f"{share(part, whole)} of this week's emails bounced; below 5 % is healthy.",
            "See the bounces",
            address_of("/emails", mode=mode, q="status:bounced"),
        )


def _held(mode: Mode, queue: QueueCounts) -> Iterator[Concern]:
    if queue.held or "held" in queue.incomplete:
        yield Concern(
            "warning",
            f"{_emails(queue, 'held')} held until their domain is verified again.",
            "See what is held",
            address_of("/queue", mode=mode, only="held"),
        )


def _emails(queue: QueueCounts, state: str) -> str:
    counted = plural(getattr(queue, state), "email")
    return f"{counted} or more" if state in queue.incomplete else counted
