"""Decides which provider accounts may take an email, and in which order. Pure functions.

Two questions, one after the other. `pick` finds the route that an email goes by: which accounts are
meant to have it. `candidates` leaves out those that cannot take it now, and orders the others. Both
draw lots by the email's id, so that a retry in another process gets the same answer.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct

from tallypost_providers.types import Mode, Provider

_LOTS: Final = 1_000_000


class Mail(Struct, frozen=True, kw_only=True):
    """What routing looks at in an email."""

    email_id: UUID
    mode: Mode
    domain_id: UUID
    lane: str
    tags: Mapping[str, str]
    is_partial: bool = False
    """Somebody whom its headers name is not to get it, or not any more."""


class Route(Struct, frozen=True, kw_only=True):
    """Which mail goes to which accounts; what is None is not looked at."""

    id: UUID
    accounts: tuple[str, ...]
    """Best first."""
    domain_id: UUID | None = None
    lane: str | None = None
    tag_name: str | None = None
    tag_value: str | None = None
    """With tag_name: of that value only."""
    share: float = 1.0
    """Above 0 and up to 1: of the mail that fits, so much goes by this route and the rest on to
    the next."""

    def fits(self, mail: Mail) -> bool:
        """True where the email is such a one, its lot aside."""
        if self.domain_id is not None and self.domain_id != mail.domain_id:
            return False
        if self.lane is not None and self.lane != mail.lane:
            return False
        if self.tag_name is None:
            return True
        value = mail.tags.get(self.tag_name)
        return value is not None and self.tag_value in {None, value}


def pick(routes: Iterable[Route], mail: Mail, otherwise: Sequence[str]) -> Sequence[str]:
    """The accounts of the first route that the email goes by, best first."""
    for route in routes:
        if route.fits(mail) and _draw(mail.email_id, route.id) < route.share:
            return route.accounts
    return otherwise


def candidates(
    named: Sequence[str],
    fleet: Mapping[str, Provider],
    mail: Mail,
    *,
    refused_by: Collection[str] = (),
    unverified: Collection[tuple[str, UUID]] = (),
    warm_share: float = 0.0,
) -> list[Provider]:
    """The accounts of a route that may take the email, the one to ask first at the head.

    Test mail never leaves the platform, so it goes only to accounts that do not reach outside,
    whatever its route says; live mail only to those that do. unverified are accounts with domains
    that must not be sent from there. Those in refused_by, which said in this round that they did
    not take it, come last. warm_share of all mail tries the second account
    first, so that it is known to work, and known to its receivers, when the first one fails.
    """
    if mail.mode == "test":
        names: Iterable[str] = fleet
    else:
        names = dict.fromkeys(named)
    usable = [
        account
        for name in names
        if (account := fleet.get(name)) is not None
        and account.capabilities.reaches_outside == (mail.mode == "live")
        and (account.capabilities.keeps_envelope or not mail.is_partial)
        and (name, mail.domain_id) not in unverified
    ]
    if len(usable) > 1 and warm_share and _draw(mail.email_id, None) < warm_share:
        usable[:2] = usable[1], usable[0]
    # Sorting is stable, so that both parts keep their order.
    return sorted(usable, key=lambda account: account.account in refused_by)


def _draw(email_id: UUID, route_id: UUID | None) -> float:
    """A number from 0 to below 1 that is this email's for this route.

    The end of a UUIDv7 is random. Each route has a draw of its own: else all of a route's mail
    would go by the next one that has the same share.
    """
    lot = email_id.int if route_id is None else email_id.int ^ (route_id.int * _ODD)
    return (lot & _RANDOM_BITS) % _LOTS / _LOTS


_RANDOM_BITS: Final = (1 << 62) - 1
# Spreads the difference of two ids over all bits.
_ODD: Final = 0x9E3779B97F4A7C15
