"""Whether mail goes by a tenant's provider account at this moment, in words."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from tallypost_console.account_findings import DomainFinding
from tallypost_domain.routing.troubles import Trouble, TroubleState
from tallypost_domain.routing.types import AccountView
from tallypost_providers.provider_domains import KNOWS_DOMAINS

_TROUBLES: Final[Mapping[TroubleState, tuple[str, str, str]]] = {
    "open": ("danger", "Not asked", "Too much failed"),
    "paused": ("warning", "Paused", "It asked for a pause"),
    "half_open": ("info", "Being tried", "One email is trying it"),
}
_MEANWHILE: Final = (
    "Until then its routes ask the next account that they name; where there is none, mail waits."
)
_STEP_S: Final = 5
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


class Condition(Struct, frozen=True, kw_only=True):
    """How an account does, as the workers see it."""

    tone: str
    label: str
    cause: str
    since: dt.datetime | None = None
    """None where nothing is wrong."""
    next_step: str


def describe_trouble(
    account: AccountView, trouble: Trouble | None, *, is_named: bool
) -> Condition | None:
    """Why workers ask an account nothing; None where they do, and where it is switched off.

    is_named tells whether a route names the account.
    """
    if trouble is None or not account.is_on:
        return None
    tone, label, cause = _TROUBLES[trouble.state]
    next_step = _next_step(trouble)
    return Condition(
        tone=tone,
        label=label,
        cause=cause,
        since=trouble.since,
        next_step=f"{next_step} {_MEANWHILE}" if is_named else next_step,
    )


def describe_condition(
    account: AccountView,
    trouble: Trouble | None,
    domains: Sequence[DomainFinding],
    *,
    is_named: bool,
) -> Condition | None:
    """As `describe_trouble`, or that it takes mail.

    That is not said of one that has passed no check, or that no verified domain can send by.
    """
    found = describe_trouble(account, trouble, is_named=is_named)
    if found is not None or not account.is_on or not is_named:
        return found
    states = {step.state for step in account.check_steps}
    # Of one that has to know domains, also where there is none yet.
    is_closed = account.provider in KNOWS_DOMAINS and all(
        domain.is_unverified for domain in domains
    )
    # Beside either of them it would read as the opposite.
    if not states or "failed" in states or is_closed:
        return None
    return Condition(
        tone="success",
        label="Takes mail",
        cause="No worker has trouble with it at the moment",
        next_step="Workers ask it as the routes below say.",
    )


def _next_step(trouble: Trouble) -> str:
    if trouble.state == "half_open":
        return "If it takes that one, more mail goes by it."
    verb = "asked" if trouble.state == "paused" else "tried"
    if trouble.wait_s is None:
        return f"It is {verb} again by itself."
    if not trouble.wait_s:
        return "The next email asks it again."
    return f"It is {verb} again in {_in_words(trouble.wait_s)}."


def _in_words(wait_s: float) -> str:
    """`20 s`, `3 min`, `2 h`, rounded up: a page that is live does not change with each second."""
    if wait_s <= _MINUTE_S - _STEP_S:
        return f"{math.ceil(wait_s / _STEP_S) * _STEP_S} s"
    if wait_s <= _HOUR_S - _MINUTE_S:
        return f"{math.ceil(wait_s / _MINUTE_S)} min"
    return f"{math.ceil(wait_s / _HOUR_S)} h"
