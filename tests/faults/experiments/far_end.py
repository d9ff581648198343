"""Puts handovers under way at the far end, so that a fault finds them there."""

import time

from tallypost_simulators.smtp_faults import Fault
from tests.faults.runs import Run

SLOW_S = 0.05
"""Before each reply in small experiments: some handovers are under way at any time."""

FULL_SLOW_S = 0.005
"""The same where there is so much mail that every connection is busy."""

# An answer has about thirty bytes, so it takes longer than what it waits for.
_DRIP_S = 0.05
_FILLED_WITHIN_S = 0.7


def be_slow(run: Run) -> None:
    """Take every message, a little later than at once."""
    run.sink.misbehave(latency_s=run.pick(small=SLOW_S, full=FULL_SLOW_S))


def hold_handovers(run: Run) -> None:
    """Take messages now and say so a second later: on return many are in that state.

    Whatever happens to their workers in that second, these messages have arrived.
    """
    run.sink.misbehave(Fault(phase="final", action="drip", drip_s=_DRIP_S))
    time.sleep(_FILLED_WITHIN_S)
