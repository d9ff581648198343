"""Tells the SMTP sink how to misbehave."""

import re
from typing import Literal

from tallypost_simulators.fault_list import FaultList, ProbableFault

SinkPhase = Literal["connect", "hello", "mail", "rcpt", "data", "body", "final"]
FaultAction = Literal["reply", "drop", "hang", "drip"]


class Fault(ProbableFault, kw_only=True):
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
    """Regular expression that the address must match; in phase final, the email's id."""
    drip_s: float = 0.01


class Faults(FaultList[Fault]):
    """What goes wrong at a sink."""

    def take(self, phase: SinkPhase, text: str = "") -> Fault | None:
        """The fault that happens now, counted as used; None where all goes well."""

        def fits(fault: Fault) -> bool:
            if fault.phase != phase:
                return False
            return fault.pattern is None or re.search(fault.pattern, text) is not None

        return self._take(fits)
