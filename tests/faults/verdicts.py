"""Says what became of every acknowledged email: lost, doubled, listed."""

import time
from collections.abc import Iterator
from uuid import UUID

from msgspec import Struct

from tests.faults.clients import Clients
from tests.support.platform import Platform, wait_until
from tests.support.sinks import CountingSink

_SETTLED_WITHIN_S = 180.0

# Rows that somebody or something will still work on by itself.
_UNSETTLED = """
    SELECT count(*) FROM send_queue
    WHERE email_id = ANY ($1) AND state IN ('waiting', 'claimed', 'handing_over')
"""
_EMAILS = "SELECT id FROM emails WHERE subject LIKE $1 || ' %'"
_RECIPIENTS = "SELECT email_id, address, status FROM recipients WHERE email_id = ANY ($1)"
_LISTED = """
    SELECT email_id FROM attempts WHERE email_id = ANY ($1) AND outcome = 'ambiguous'
    UNION
    SELECT subject_id FROM events
    WHERE subject_id = ANY ($1) AND type IN ('email.unconfirmed', 'email.duplicate_suspected')
"""
_UNITS = "SELECT coalesce(sum(units), 0) FROM usage_ledger WHERE email_id = ANY ($1)"
# Where an email that did not arrive is shown to somebody who can decide.
_PARKED = ("held", "unconfirmed")


class Verdict(Struct, frozen=True, kw_only=True):
    """What an experiment showed."""

    name: str
    count: int
    false_acknowledgements: int
    """Positive answers with an id that does not exist."""
    second_ids: int
    """Ids beyond the first of each send, and emails that no answer names."""
    lost: int
    """Recipients of acknowledged emails without a copy who are not listed as unconfirmed or held
    either, or who are still to be sent to though nothing is due."""
    unended: int
    """Recipients who are neither on record as sent nor listed."""
    duplicated: int
    """Extra copies for an email and recipient."""
    unlisted: int
    """Those of them that nothing on record gives away, and copies of unknown emails."""
    unconfirmed: int
    """Emails listed as possibly doubled, or as possibly not sent."""
    unmetered: int
    """Difference between the ledger and the recipients on record as sent."""
    recovery_s: float
    """From the end of the last fault, or of the planned sends, until nothing was left to do."""

    def line(self) -> str:
        """The experiment in one line."""
        return (
            f"faults: {self.name} n={self.count} lost={self.lost} duplicated={self.duplicated} "
            f"unlisted={self.unlisted} unconfirmed={self.unconfirmed} "
            f"recovery_s={self.recovery_s:.1f}"
        )

    def broken_promises(self) -> dict[str, int]:
        """What must be zero and is not."""
        promised = {
            "false_acknowledgements": self.false_acknowledgements,
            "second_ids": self.second_ids,
            "lost": self.lost,
            "unended": self.unended,
            "unlisted": self.unlisted,
            "unmetered": self.unmetered,
        }
        return {name: number for name, number in promised.items() if number}


class _Recipient(Struct, frozen=True):
    status: str
    """Empty where there is no such recipient."""
    copies: int
    is_listed: bool

    @property
    def is_lost(self) -> bool:
        is_without_copy = self.copies == 0 and self.status not in _PARKED
        return is_without_copy or self.status in ("", "scheduled", "queued", "deferred")

    @property
    def is_unended(self) -> bool:
        return self.status != "sent" and not self.is_listed

    @property
    def extra_copies(self) -> int:
        return max(0, self.copies - 1)


def judge(
    platform: Platform, sink: CountingSink, clients: Clients, *, faults_ended_s: float
) -> Verdict:
    """Wait until the platform has nothing left to do, touching nothing, and look at everything.

    faults_ended_s is when the last fault was over, on the monotonic clock.
    """
    wait_until(
        lambda: platform.count(_UNSETTLED, _ids(clients)) == 0,
        within_s=_SETTLED_WITHIN_S,
        what=f"{clients.name}: nothing is left to do",
    )
    waited_s = time.monotonic() - max(faults_ended_s, clients.planned_end_s)
    clients.repeat_all()
    ids = _ids(clients)
    stored = {row["id"] for row in platform.fetch(_EMAILS, clients.name)}
    listed = {row[0] for row in platform.fetch(_LISTED, ids)}
    copies = {
        (UUID(email_id), address): count
        for (email_id, address), count in sink.counts().items()
        if address.startswith(f"{clients.name}-")
    }
    recipients = list(_recipients(platform, clients, copies, listed))
    strays = sum(count for (email_id, _), count in copies.items() if email_id not in ids)
    on_record = sum(recipient.status == "sent" for recipient in recipients)
    return Verdict(
        name=clients.name,
        count=clients.count,
        false_acknowledgements=len(set(ids) - stored),
        second_ids=len(ids) - len(clients.answers) + len(stored - set(ids)),
        lost=sum(recipient.is_lost for recipient in recipients),
        unended=sum(recipient.is_unended for recipient in recipients),
        duplicated=sum(recipient.extra_copies for recipient in recipients),
        unlisted=strays + sum(item.extra_copies for item in recipients if not item.is_listed),
        unconfirmed=len(listed),
        unmetered=abs(platform.count(_UNITS, ids) - on_record),
        recovery_s=max(0.0, waited_s),
    )


def _ids(clients: Clients) -> list[UUID]:
    return sorted({email_id for answers in clients.answers.values() for email_id in answers})


def _recipients(
    platform: Platform,
    clients: Clients,
    copies: dict[tuple[UUID, str], int],
    listed: set[UUID],
) -> Iterator[_Recipient]:
    statuses = {
        (row["email_id"], row["address"]): row["status"]
        for row in platform.fetch(_RECIPIENTS, _ids(clients))
    }
    for number, answers in clients.answers.items():
        for email_id in answers:
            for address in clients.recipients(number):
                key = (email_id, address)
                yield _Recipient(statuses.get(key, ""), copies.get(key, 0), email_id in listed)
