"""Tells the SMTP sink how to misbehave."""

import asyncio
import random
import re
from typing import Literal

from msgspec import Struct

SinkPhase = Literal["connect", "hello", "mail", "rcpt", "data", "body", "final"]
FaultAction = Literal["reply", "drop", "hang", "drip"]


class Fault(Struct, kw_only=True):
    """One way to fail, at one point of the dialogue.

    In phase body the sink has seen the first bytes of a message and not yet its end; in phase
    final it has all of it. There, drop, hang and drip take the message and the client learns so
    late or never, while reply does not take it.
    """

    phase: SinkPhase
    action: FaultAction = "reply"
    """reply answers with `reply`; drop ends the connection; drip gives the usual reply one byte at
    a time, drip_s apart; hang gives it once the faults are replaced, and is silent until then."""
    reply: str = "451 4.3.0 try again later"
    """Code and text, one line. After a 421 the sink hangs up, as the code says."""
    pattern: str | None = None
    """Regular expression that the address must match; for phases mail and rcpt."""
    probability: float = 1.0
    times: int | None = None
    """How many more times it happens; None for ever."""
    drip_s: float = 0.01


class Faults:
    """What goes wrong at a sink; `active` and `latency_s` may be changed while it runs."""

    def __init__(self, *active: Fault, latency_s: float = 0.0, seed: int = 0) -> None:
        """latency_s comes before every reply; seed makes probable faults repeatable."""
        self.active = list(active)
        self.latency_s = latency_s
        self._random = random.Random(seed)  # noqa: S311 -- decides about failures, not secrets.
        self._replaced = asyncio.Event()

    @property
    def is_quiet(self) -> bool:
        """True where nothing is to go wrong: the sink's fast path."""
        return not self.active and not self.latency_s

    def replace(self, *active: Fault, latency_s: float = 0.0) -> None:
        """From now on other things go wrong. Sessions that hang give their reply and go on."""
        self.active = list(active)
        self.latency_s = latency_s
        self._replaced.set()
        self._replaced = asyncio.Event()

    @property
    def replaced(self) -> asyncio.Event:
        """Set by the next `replace`. Whoever hangs takes it together with the fault."""
        return self._replaced

    def take(self, phase: SinkPhase, text: str = "") -> Fault | None:
        """The fault that happens now, counted as used; None where all goes well."""
        for fault in self.active:
            if fault.phase != phase or fault.times == 0:
                continue
            if fault.pattern is not None and not re.search(fault.pattern, text):
                continue
            if self._random.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
            return fault
        return None
