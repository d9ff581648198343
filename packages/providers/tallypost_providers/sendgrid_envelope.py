"""Whom SendGrid would send an email to: it reaches everybody whom To and Cc name, and Bcc."""

from uuid import UUID

from msgspec import Struct

from tallypost_providers.addresses import Mailbox, parse_mailbox
from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.types import OutgoingEmail


class Envelope(Struct, frozen=True):
    """The recipients of one call; each address stands in it once."""

    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    bcc: tuple[Mailbox, ...]
    """The pending recipients whom no header names."""
    is_whole: bool
    """False where a header names somebody who is not to get the message this time."""
    unusable: frozenset[UUID]
    """Recipients in no header whose address SendGrid cannot take; the call leaves them out."""

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return len(self.to) + len(self.cc) + len(self.bcc)


def read_envelope(email: OutgoingEmail) -> Envelope:
    """The envelope of an email; raises EmailNotBuildable for a header that holds no mailbox.

    SendGrid refuses an email that names an address twice, in whatever case, so that To goes before
    Cc, and the first before the second.
    """
    seen: set[str] = set()
    to = _new_mailboxes(email.to, "to", seen)
    cc = _new_mailboxes(email.cc, "cc", seen)
    visible = frozenset(seen)
    bcc: list[Mailbox] = []
    unusable: set[UUID] = set()
    pending: set[str] = set()
    for recipient in email.recipients:
        mailbox = _find_mailbox(recipient.address)
        if mailbox is None:
            unusable.add(recipient.recipient_id)
            continue
        pending.add(_key(mailbox))
        if _key(mailbox) not in seen:
            seen.add(_key(mailbox))
            bcc.append(mailbox)
    return Envelope(to, cc, tuple(bcc), visible <= pending, frozenset(unusable))


def _new_mailboxes(written: tuple[str, ...], field: str, seen: set[str]) -> tuple[Mailbox, ...]:
    new: list[Mailbox] = []
    for text in written:
        mailbox = parse_mailbox(text, field)
        if _key(mailbox) not in seen:
            seen.add(_key(mailbox))
            new.append(mailbox)
    return tuple(new)


def _find_mailbox(address: str) -> Mailbox | None:
    try:
        mailbox = parse_mailbox(address, "recipients")
    except EmailNotBuildable:
        return None
    return None if mailbox.name else mailbox


def _key(mailbox: Mailbox) -> str:
    return mailbox.address.lower()
