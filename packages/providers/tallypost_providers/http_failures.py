"""What an answer or a silence of a provider's HTTP API means, by a table of each provider.

A table is read from top to bottom and the first row that fits decides. Two things hold for all of
them: while nothing of a request has left, silence is harmless; and once it has, only an answer in
the form that the provider documents is a statement. A gateway's page, or a status without a body,
may come from anywhere between us and the provider, after it has taken the message. A few rows are
of a status in any form, such as 429, which says itself that this request was refused.
"""

import enum
import re
from collections.abc import Sequence

from msgspec import Struct

from tallypost_providers.types import Outcome

RETRY_AFTER_MAX_S = 24 * 3600.0
"""No API is believed that asks for a longer wait."""


class HTTPSilence(enum.StrEnum):
    """The ways in which an API does not answer."""

    UNREACHABLE = "unreachable"
    """No connection: refused, no such host, no TLS, or not in time. Nothing has left."""
    TIMEOUT = "timeout"
    """The request has left, and nothing came within the time allowed."""
    RESET = "reset"
    """The request has left, and the connection ended or what came is no HTTP."""


class HTTPAnswer(Struct, frozen=True):
    """One answer of an API."""

    status: int
    code: str = ""
    """The error's name, where the provider's errors have one."""
    text: str = ""
    """The provider's own words."""
    is_documented: bool = True
    """The body has the form that the provider documents for this status."""
    retry_after_s: float | None = None


HTTPSignal = HTTPAnswer | HTTPSilence


class HTTPRow(Struct, frozen=True):
    """One line of a table."""

    pattern: str
    """A status such as `429` or `5xx`, a Silence, or `any`; a status may be followed by the
    error's name, or by `undocumented`, which fits a body in any other form than the documented."""
    outcome: Outcome
    reason: str
    """Why, with its source."""


def find_row(table: Sequence[HTTPRow], signal: HTTPSignal) -> HTTPRow:
    """The row that decides about this signal; a table ends in a row for anything else."""
    return next(row for row in table if _fits(row.pattern, signal))


def _fits(pattern: str, signal: HTTPSignal) -> bool:
    if pattern == "any":
        return True
    if isinstance(signal, HTTPSilence):
        return pattern == signal.value
    status, _, word = pattern.partition(" ")
    if not re.fullmatch(status.replace("x", "[0-9]"), str(signal.status)):
        return False
    if word == "undocumented":
        return not signal.is_documented
    # A name is only said by a documented body. A status alone says nothing without one.
    return signal.is_documented and word in {"", signal.code}
