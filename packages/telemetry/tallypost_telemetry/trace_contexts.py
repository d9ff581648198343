"""Where in which trace something happened: as W3C Trace Context writes it, and as we store it.

Stored is a traceparent of version 00 with the sampled flag; `;batch` at its end says that several
emails were accepted in that one span. A constraint of `emails` knows the same form.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

_SHARED = ";batch"
_STORED_ID = slice(3, 35)

# https://www.w3.org/TR/trace-context/#traceparent-header: ids of zeros are invalid, and so is
# version ff; a later version may go on after the flags.
_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)
_STORED = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01(;batch)?")


class TraceContext(NamedTuple):
    """One span of a trace, by its hexadecimal ids."""

    trace_id: str
    span_id: str
    is_shared: bool = False
    """Several emails were accepted in it, so the delivery of one does not go on from it."""

    def stored(self) -> str:
        """The form that `read_stored` reads."""
        return f"00-{self.trace_id}-{self.span_id}-01{_SHARED if self.is_shared else ''}"


class Caller(NamedTuple):
    """What the sender of a request said about its own trace."""

    context: TraceContext
    is_sampled: bool


def read_traceparent(header: bytes) -> Caller | None:
    """The caller's span; None where the header is malformed, which is then as good as none."""
    found = _TRACEPARENT.fullmatch(header.strip())
    if found is None or (found[1] == b"00" and found[5] is not None):
        return None
    context = TraceContext(found[2].decode(), found[3].decode())
    return Caller(context, is_sampled=bool(int(found[4], 16) & 1))


def read_stored(texts: Iterable[str]) -> list[TraceContext]:
    """The spans that emails were accepted in, without what is malformed: no mail waits for it."""
    return [
        TraceContext(found[1], found[2], is_shared=found[3] is not None)
        for found in map(_STORED.fullmatch, texts)
        if found is not None
    ]


def trace_id_of(stored: str | None) -> str | None:
    """The trace of an email, 32 hexadecimal digits; None for one that was not sampled."""
    return stored[_STORED_ID] if stored is not None else None
