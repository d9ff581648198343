"""Says what became of every acknowledged email: lost, doubled, listed."""

from collections.abc import Iterator, Mapping, Sequence, Set
from uuid import UUID

from msgspec import Struct

from tests.faults.plans import GONE, SENDS_AGAIN, Plan
from tests.support.counting_sink import Arrived
from tests.support.platform import Platform

_EMAILS = "SELECT id FROM emails"
_RECIPIENTS = "SELECT email_id, address, status FROM recipients"
_LISTED = """
    SELECT email_id FROM attempts WHERE outcome = 'ambiguous'
    UNION
    SELECT subject_id FROM events
    WHERE type IN ('email.unconfirmed', 'email.duplicate_suspected')
"""
_UNITS = "SELECT coalesce(sum(units), 0) FROM usage_ledger"
# Where an email that did not arrive is shown to somebody who can decide.
_PARKED = ("held", "unconfirmed")
_DUE = ("scheduled", "queued", "deferred")


class Sent(Struct, frozen=True):
    """A plan and the ids of all positive answers to each of its sends."""

    plan: Plan
    answers: Mapping[int, set[UUID]]


class Records(Struct, frozen=True, kw_only=True):
    """What the product has on record, all tenants together, once nothing is left to do."""

    emails: set[UUID]
    statuses: dict[tuple[UUID, str], str]
    """Of each recipient, by email and address."""
    listed: set[UUID]
    """Emails that say of themselves that they may have left twice, or not at all."""
    units: int
    """In the ledger."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What an experiment showed."""

    count: int
    """Sends."""
    false_acknowledgements: int
    """Positive answers with an id that does not exist."""
    second_ids: int
    """Ids beyond the first of each send, and emails that no answer names."""
    lost: int
    """Recipients of acknowledged emails without a copy who are not listed as unconfirmed or held
    either, or who are still to be sent to though nothing is due."""
    unended: int
    """Recipients that are given up though nobody refused them."""
    duplicated: int
    """Extra copies for an email and recipient."""
    unlisted: int
    """Those of them that nothing on record gives away, and copies of unknown emails."""
    resent: int
    """Extra copies on a stream that holds what is unconfirmed."""
    unconfirmed: int
    """Emails listed as possibly doubled, or as possibly not sent."""
    unbounced: int
    """Recipients refused for good that are neither on record as such nor listed."""
    bounced_emails: frozenset[UUID]
    """Emails with another recipient that is on record as refused for good."""
    unmetered: int
    """Difference between the ledger and the recipients on record as sent."""

    def line(self, name: str, recovery_s: float) -> str:
        """The experiment in one line."""
        return (
            f"faults: {name} n={self.count} lost={self.lost} duplicated={self.duplicated} "
            f"unlisted={self.unlisted} unconfirmed={self.unconfirmed} recovery_s={recovery_s:.1f}"
        )

    def broken_promises(self, *, refused_emails: Set[UUID] = frozenset()) -> dict[str, int]:
        """What must be zero and is not.

        refused_emails are those that the far end refused as a whole.
        """
        promised = {
            "false_acknowledgements": self.false_acknowledgements,
            "second_ids": self.second_ids,
            "lost": self.lost,
            "unended": self.unended,
            "unlisted": self.unlisted,
            "resent_though_held": self.resent,
            "unbounced": self.unbounced,
            "wrongly_bounced": len(self.bounced_emails ^ refused_emails),
            "unmetered": self.unmetered,
        }
        return {name: number for name, number in promised.items() if number}


class _Recipient(Struct, frozen=True):
    """One recipient of one acknowledged email."""

    email_id: UUID
    status: str
    """Empty where there is no such recipient."""
    copies: int
    is_listed: bool
    is_gone: bool
    may_be_resent: bool

    @property
    def is_lost(self) -> bool:
        has_vanished = self.status in ("", *_DUE)
        return has_vanished or (self.status == "sent" and self.copies == 0)

    @property
    def is_unended(self) -> bool:
        return self.status not in ("sent", "bounced", *_PARKED) and not self.is_lost

    @property
    def extra_copies(self) -> int:
        return max(0, self.copies - 1)


def read_records(platform: Platform) -> Records:
    """Look at everything, past row-level security."""
    return Records(
        emails={row["id"] for row in platform.fetch(_EMAILS)},
        statuses={
            (row["email_id"], row["address"]): row["status"] for row in platform.fetch(_RECIPIENTS)
        },
        listed={row[0] for row in platform.fetch(_LISTED)},
        units=platform.count(_UNITS),
    )


def judge(sent: Sequence[Sent], records: Records, arrived: Arrived) -> Verdict:
    """Hold what was acknowledged against what is on record and what arrived."""
    ids = {id_ for series in sent for answers in series.answers.values() for id_ in answers}
    later_ids = sum(len(answers) - 1 for series in sent for answers in series.answers.values())
    copies = {
        (UUID(email_id), address): found.count for (email_id, address), found in arrived.items()
    }
    recipients = list(_recipients(sent, records, copies))
    strays = sum(count for (email_id, _), count in copies.items() if email_id not in ids)
    on_record = sum(recipient.status == "sent" for recipient in recipients)
    return Verdict(
        count=sum(series.plan.count for series in sent),
        false_acknowledgements=len(ids - records.emails),
        second_ids=later_ids + len(records.emails - ids),
        lost=sum(recipient.is_lost for recipient in recipients),
        unended=sum(recipient.is_unended for recipient in recipients),
        duplicated=sum(recipient.extra_copies for recipient in recipients),
        unlisted=strays + sum(item.extra_copies for item in recipients if not item.is_listed),
        resent=sum(item.extra_copies for item in recipients if not item.may_be_resent),
        unconfirmed=len(records.listed),
        unbounced=sum(
            item.is_gone and item.status != "bounced" and not item.is_listed for item in recipients
        ),
        bounced_emails=frozenset(
            item.email_id for item in recipients if item.status == "bounced" and not item.is_gone
        ),
        unmetered=abs(records.units - on_record),
    )


def _recipients(
    sent: Sequence[Sent], records: Records, copies: Mapping[tuple[UUID, str], int]
) -> Iterator[_Recipient]:
    for series in sent:
        for number, ids in series.answers.items():
            for email_id in ids:
                for address in series.plan.recipients(number):
                    key = (email_id, address)
                    yield _Recipient(
                        email_id=email_id,
                        status=records.statuses.get(key, ""),
                        copies=copies.get(key, 0),
                        is_listed=email_id in records.listed,
                        is_gone=address.startswith(GONE),
                        may_be_resent=series.plan.stream(number) == SENDS_AGAIN,
                    )
