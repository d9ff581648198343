"""Decides which provider account takes an email."""

from collections.abc import Sequence

from tallypost_providers.errors import NoRouteAvailable
from tallypost_providers.types import Mode, Provider


def choose(accounts: Sequence[Provider], mode: Mode) -> Provider:
    """The first account, best first, that mail of this mode may use. A pure function.

    Test mail never leaves the platform, so it goes only to accounts that do not reach outside;
    live mail only to those that do. Accounts that must not be used now are left out by the
    caller.
    Raises NoRouteAvailable.
    """
    for account in accounts:
        if account.capabilities.reaches_outside == (mode == "live"):
            return account
    raise NoRouteAvailable
