"""Which faults a simulator has, and which of them happens next."""

import asyncio
import random
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct


class ProbableFault(Struct, kw_only=True):
    """One way to fail, now and then or a number of times."""

    probability: float = 1.0
    times: int | None = None
    """How many more times it happens; None for ever."""


FaultT = TypeVar("FaultT", bound=ProbableFault)


class FaultList(Generic[FaultT]):
    """What goes wrong at a simulator; `active` and `latency_s` may be changed while it runs."""

    def __init__(self, *active: FaultT, latency_s: float = 0.0, seed: int = 0) -> None:
        """latency_s comes before every reply; seed makes probable faults repeatable."""
        self.active = list(active)
        self.latency_s = latency_s
        self._random = random.Random(seed)  # noqa: S311 -- decides about failures, not secrets.
        self._replaced = asyncio.Event()

    @property
    def is_quiet(self) -> bool:
        """True where nothing is to go wrong: a simulator's fast path."""
        return not self.active and not self.latency_s

    def replace(self, *active: FaultT, latency_s: float = 0.0) -> None:
        """From now on other things go wrong. Whatever hangs gets its reply and goes on."""
        self.active = list(active)
        self.latency_s = latency_s
        self._replaced.set()
        self._replaced = asyncio.Event()

    @property
    def replaced(self) -> asyncio.Event:
        """Set by the next `replace`. Whoever hangs takes it together with the fault."""
        return self._replaced

    def _take(self, fits: Callable[[FaultT], bool]) -> FaultT | None:
        """The fault that happens now, counted as used; None where all goes well."""
        for fault in self.active:
            if fault.times == 0 or not fits(fault):
                continue
            if self._random.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
            return fault
        return None
