"""Reads what dead letters are narrowed to, and says at which field it makes no sense."""

import contextlib
import datetime as dt
import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from tallypost_console.errors import MalformedForm
from tallypost_core.ids import parse_id
from tallypost_domain.emails.addresses import parse_address
from tallypost_domain.emails.errors import InvalidField
from tallypost_domain.queue.dead_letters import EVERYTHING, DeadLetterFilter

FIELDS: Final = ("cause", "stream", "domain", "since", "until", "email")

# What would be a part of the address before the domain, or more than one.
_NO_DOMAIN: Final = re.compile(r"[@<>\s]")


class Narrowing(Struct, frozen=True):
    """A filter as it was read."""

    wanted: DeadLetterFilter
    wrong: Mapping[str, str]
    """By field, what to write there; where there is any, wanted leaves everything open."""


def read_narrowing(given: Mapping[str, str]) -> Narrowing:
    """The filter that the fields stand for; each of FIELDS is in given.

    Raises MalformedForm for what no field of the form lets a person write.
    """
    for name in ("cause", "stream"):
        # PostgreSQL takes no text that holds it.
        if "\0" in given[name]:
            raise MalformedForm(f"`{name}` holds a character that cannot be stored.", field=name)
    email_id = parse_id(given["email"]) if given["email"] else None
    if given["email"] and email_id is None:
        raise MalformedForm("`email` is not the id of an email.", field="email")
    wrong: dict[str, str] = {}
    wanted = DeadLetterFilter(
        cause=given["cause"] or None,
        stream=given["stream"] or None,
        recipient_domain=_read_domain(given["domain"].strip(), wrong),
        email_id=email_id,
        failed_from=_read_day(given, "since", wrong),
        failed_before=_read_day(given, "until", wrong),
    )
    return Narrowing(EVERYTHING if wrong else wanted, wrong)


def require_narrowing(given: Mapping[str, str]) -> DeadLetterFilter:
    """As `read_narrowing`; raises MalformedForm for all that makes no sense."""
    narrowing = read_narrowing(given)
    for name, text in narrowing.wrong.items():
        raise MalformedForm(text, field=name)
    return narrowing.wanted


def _read_domain(text: str, wrong: dict[str, str]) -> str | None:
    if not text:
        return None
    if _NO_DOMAIN.search(text) is None:
        with contextlib.suppress(InvalidField):
            return parse_address(f"x@{text}", "domain").domain
    wrong["domain"] = "Write a domain such as example.com."
    return None


def _read_day(given: Mapping[str, str], name: str, wrong: dict[str, str]) -> dt.datetime | None:
    if not given[name]:
        return None
    try:
        day = dt.date.fromisoformat(given[name])
    except ValueError:
        wrong[name] = "Write a date such as 2026-11-26."
        return None
    return dt.datetime.combine(day, dt.time(), dt.UTC)
