"""The states of one circuit, without time or network of their own.

closed --(too many of the latest calls failed)--> open --(open_s later)--> half open, which lets
one call through as a probe: its success closes the circuit, its failure opens it again.
"""

import enum
import math
from collections import deque

from msgspec import Struct

_SLOTS = 10
"""The window moves on by a tenth of itself, so memory does not grow with the rate of calls."""


class BreakerState(enum.StrEnum):
    """What happens to the next call: it passes, is refused, or may be the probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Verdict(enum.Enum):
    """What a finished call says about the peer."""

    SUCCESS = "success"
    FAILURE = "failure"
    DOWN = "down"
    """The peer says that it takes nothing, whoever asks: no more calls are needed to know."""
    NONE = "none"
    """Nothing: it was cancelled, or failed by a fault of our own."""


_BAD = frozenset({Verdict.FAILURE, Verdict.DOWN})


class BreakerConfig(Struct, frozen=True, kw_only=True):
    """When a circuit opens, and for how long; raises ValueError where a number means nothing."""

    window_s: float = 30.0
    """How far back calls count, to a tenth of it."""
    min_calls: int = 10
    """Fewer calls than this in the window say nothing."""
    failure_rate: float = 0.5
    """The share of failed calls, above 0 and up to 1, from which on the circuit opens."""
    open_s: float = 10.0
    """How long nothing passes before a probe may."""
    longest_open_s: float | None = None
    """Each probe that fails doubles that time, up to this; None leaves it as it is."""
    probe_s: float = 60.0
    """How long a probe keeps others out; longer than a call may take."""

    def __post_init__(self) -> None:
        times = (self.window_s, self.open_s, self.probe_s)
        if not all(time_s > 0 and math.isfinite(time_s) for time_s in times):
            raise ValueError("window_s, open_s and probe_s must be positive and finite")
        if self.min_calls < 1:
            raise ValueError("min_calls must be at least 1")
        if not self.open_s <= (self.longest_open_s or self.open_s) < math.inf:
            raise ValueError("longest_open_s must be finite and at least open_s")
        if not 0 < self.failure_rate <= 1:
            raise ValueError("failure_rate must be above 0 and at most 1")


class Refusal(Struct, frozen=True):
    """The call must not be made now."""

    retry_after_s: float


class Ticket(Struct, frozen=True):
    """Leave for one call; the circuit ignores a verdict that comes with an outdated one."""

    round: int
    is_probe: bool


class _Slot(Struct):
    number: int
    calls: int = 0
    failures: int = 0


class Circuit:
    """One key's circuit. All times are of one clock that never goes back, in seconds."""

    def __init__(self, config: BreakerConfig) -> None:
        self._config = config
        self._slots: deque[_Slot] = deque()
        # None while closed, else the moment from which on the circuit is half open.
        self._closed_until_s: float | None = None
        self._probe_until_s: float | None = None
        self._open_s = config.open_s
        # Calls of an earlier round began before the state changed: they say nothing about now.
        self._round = 0

    @property
    def open_s(self) -> float:
        """How long it stays open once it opens now."""
        return self._open_s

    def wait_s(self, now_s: float, busy_s: float) -> float:
        """How long to wait before `ask` may give leave; 0 where it would, if only for the probe.

        busy_s is the time to wait while a probe is under way, as there.
        """
        if self._closed_until_s is None:
            return 0.0
        if now_s < self._closed_until_s:
            return self._closed_until_s - now_s
        return min(busy_s, max(0.0, (self._probe_until_s or 0.0) - now_s))

    def state(self, now_s: float) -> BreakerState:
        """The state at this moment."""
        if self._closed_until_s is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_s < self._closed_until_s else BreakerState.HALF_OPEN

    def ask(self, now_s: float, busy_s: float) -> Ticket | Refusal:
        """Leave for one call, or why not; while half open, leave for the one probe.

        busy_s is what a caller is told to wait while a probe of another is under way. A probe
        that gives no verdict within probe_s has lost its place to the next one.
        """
        if self._closed_until_s is None:
            return Ticket(self._round, is_probe=False)
        if now_s < self._closed_until_s:
            return Refusal(self._closed_until_s - now_s)
        if self._probe_until_s is not None and now_s < self._probe_until_s:
            return Refusal(min(busy_s, self._probe_until_s - now_s))
        self._round += 1
        self._probe_until_s = now_s + self._config.probe_s
        return Ticket(self._round, is_probe=True)

    def postpone(self, ticket: Ticket, until_s: float) -> None:
        """Give a probe's place back unused, and refuse calls until then."""
        if ticket.round == self._round:
            self._probe_until_s = None
            self._closed_until_s = until_s

    def record(self, ticket: Ticket, verdict: Verdict, now_s: float) -> BreakerState | None:
        """Take in what came of a call; the new state where it changed, else None."""
        if ticket.round != self._round:
            return None
        if ticket.is_probe:
            return self._record_probe(verdict, now_s)
        if verdict is Verdict.DOWN:
            return self._open(now_s)
        if verdict is not Verdict.NONE and self._is_tripped_by(verdict, now_s):
            return self._open(now_s)
        return None

    def _record_probe(self, verdict: Verdict, now_s: float) -> BreakerState | None:
        self._probe_until_s = None
        self._round += 1
        if verdict is Verdict.NONE:
            return None
        if verdict in _BAD:
            longest_s = self._config.longest_open_s or self._config.open_s
            self._open_s = min(2 * self._open_s, longest_s)
            return self._open(now_s)
        self._closed_until_s = None
        self._open_s = self._config.open_s
        return BreakerState.CLOSED

    def _open(self, now_s: float) -> BreakerState:
        self._round += 1
        self._closed_until_s = now_s + self._open_s
        self._slots.clear()
        return BreakerState.OPEN

    def _is_tripped_by(self, verdict: Verdict, now_s: float) -> bool:
        number = math.floor(now_s * _SLOTS / self._config.window_s)
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(_Slot(number))
        while self._slots[0].number <= number - _SLOTS:
            self._slots.popleft()
        self._slots[-1].calls += 1
        if verdict is Verdict.SUCCESS:
            return False
        self._slots[-1].failures += 1
        calls = sum(slot.calls for slot in self._slots)
        failures = sum(slot.failures for slot in self._slots)
        return calls >= self._config.min_calls and failures >= self._config.failure_rate * calls
