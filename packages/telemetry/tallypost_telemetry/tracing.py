"""Traces: what happened on the way of one request, across processes, as spans with a parent.

Off without a collector in the settings. What is not sampled has no span at all: every function here
gives NO_SPAN then, after a look at one variable, and that does nothing. So code that is run for
every email asks for a span without asking first, and only what a span would say is kept for those
that are recorded: `if span: span.note(…)`.

The current span is that of a `with` block around the caller, in its own task. A task in another
context, such as one that serves many requests, has none.
"""

import enum
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Protocol

from tallypost_core.clock import monotonic_s
from tallypost_core.errors import AppError
from tallypost_core.settings.groups import TracingSettings
from tallypost_telemetry.trace_contexts import Caller, TraceContext

MAX_ASKED_PER_S = 100
"""Requests a second and process that are traced because their caller asks for it. Anybody can send
the header, and each trace costs more than the request that it describes."""

Attributes = Mapping[str, str | int | float | bool]


class Kind(enum.Enum):
    """Whom a span is about, by OpenTelemetry's names."""

    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span:
    """A piece of work, as a `with` block in which it is the current span. This one is not recorded.

    An error that leaves the block is noted by its type: its message may quote an address.
    """

    __slots__ = ()

    context: TraceContext | None = None

    def __bool__(self) -> bool:
        """True where it is recorded."""
        return False

    def __enter__(self) -> "Span":
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def note(self, attributes: Attributes) -> None:
        """Add attributes, by their names in `conventions`."""

    def rename(self, name: str) -> None:
        """Give it a name that became known later."""

    def fail(self, error_type: str) -> None:
        """Mark it as failed; error_type is a fixed word."""

    def end(self) -> None:
        """Finish it, where there is no block."""


NO_SPAN = Span()


class Recorder(Protocol):
    """What makes spans; `span_recording` has the one that sends them to a collector."""

    def start(
        self,
        name: str,
        kind: Kind,
        *,
        parent: TraceContext | None,
        links: Sequence[TraceContext],
        attributes: Attributes,
        started_ns: int | None,
    ) -> Span:
        """A span that is recorded; without a parent it begins a trace."""
        ...

    def close(self) -> None:
        """Send what is left, within a bound."""
        ...


class _State:
    """This process's tracing; there is one, as there is one log and one registry of metrics."""

    recorder: Recorder | None = None
    ratio = 0.0
    asked_in = 0
    asked = 0


_current: ContextVar[Span] = ContextVar("tallypost_current_span", default=NO_SPAN)


@contextmanager
def running(settings: TracingSettings, app: str) -> Iterator[None]:
    """Trace while the block lasts, where the settings name a collector.

    What is left at its end is sent within a bound; a collector that is away costs no more than it.
    """
    if settings.endpoint is None:
        yield
        return
    # Imported only where it is used: the SDK takes more than a second.
    from tallypost_telemetry.span_recording import SpanRecorder

    _State.recorder, _State.ratio = SpanRecorder(settings.endpoint, app), settings.sample_ratio
    try:
        yield
    finally:
        recorder, _State.recorder = _State.recorder, None
        recorder.close()


def is_on() -> bool:
    """True where this process sends traces."""
    return _State.recorder is not None


def current_span() -> Span:
    """The span of the innermost block around the caller."""
    return _current.get()


def enter(span: Span) -> "Token[Span]":
    """Make a span the current one until `leave`; for `Span` itself."""
    return _current.set(span)


def leave(token: "Token[Span]") -> None:
    """Undo `enter`."""
    _current.reset(token)


def begin(caller: Caller | None, name: str, kind: Kind, attributes: Attributes) -> Span:
    """The first span of this process for a request, where the request is to be sampled.

    The caller's decision counts; without one it is drawn.
    """
    recorder = _State.recorder
    if recorder is None or not _is_sampled(caller):
        return NO_SPAN
    return recorder.start(
        name,
        kind,
        parent=caller.context if caller is not None else None,
        links=(),
        attributes=attributes,
        started_ns=None,
    )


def child(name: str, kind: Kind, attributes: Attributes) -> Span:
    """A span within the current one; NO_SPAN where that is none."""
    recorder, parent = _State.recorder, _current.get().context
    if recorder is None or parent is None:
        return NO_SPAN
    return recorder.start(
        name, kind, parent=parent, links=(), attributes=attributes, started_ns=None
    )


def following(
    origins: Sequence[TraceContext],
    name: str,
    kind: Kind,
    attributes: Attributes,
    *,
    is_child: bool,
    started_s: float | None = None,
) -> Span:
    """A span for work that others asked for earlier, linked to each of them.

    is_child: where there is one origin, it is the parent too; otherwise this begins a trace.
    started_s is of `clock.monotonic_s`, where the work has begun before. NO_SPAN without origins.
    """
    recorder = _State.recorder
    if recorder is None or not origins:
        return NO_SPAN
    parent = origins[0] if is_child and len(origins) == 1 else None
    return recorder.start(
        name,
        kind,
        parent=parent,
        links=origins,
        attributes=attributes,
        started_ns=None if started_s is None else _wall_ns(started_s),
    )


def error_type(error: BaseException) -> str:
    """A fixed word for an error: the code of one of ours, else its class."""
    return error.code if isinstance(error, AppError) else type(error).__name__


def _is_sampled(caller: Caller | None) -> bool:
    if caller is None:
        return random.random() < _State.ratio  # noqa: S311 - nothing secret hangs on it
    return caller.is_sampled and _take_asked()


def _take_asked() -> bool:
    second = int(monotonic_s())
    if second != _State.asked_in:
        _State.asked_in, _State.asked = second, 0
    _State.asked += 1
    return _State.asked <= MAX_ASKED_PER_S


def _wall_ns(started_s: float) -> int:
    return time.time_ns() - int((monotonic_s() - started_s) * 1e9)
