"""What the knobs of every simulator mean in SMTP."""

from tallypost_simulators.fault_control import FaultKnobs, Knob
from tallypost_simulators.smtp_faults import Fault, Faults

_TRY_LATER = "450 4.2.1 mailbox busy, try again later"
_REFUSED = "550 5.1.1 no such mailbox"


class SMTPKnobs:
    """The knobs of one sink. 4xx and 5xx refuse recipients, the others act on whole messages."""

    def __init__(self, faults: Faults) -> None:
        """faults are the sink's own; what is in them gives way to the first turn of a knob."""
        self._faults = faults
        self._knobs = FaultKnobs()

    def read_knobs(self) -> FaultKnobs:
        """How the knobs stand."""
        return self._knobs

    def turn_knobs(self, knobs: FaultKnobs) -> None:
        """Misbehave like this from the next command on; what hangs gets its reply."""
        self._knobs = knobs
        self._faults.replace(
            *_faults_of(knobs.knob, knobs.share), latency_s=knobs.latency_ms / 1000
        )


def _faults_of(knob: Knob, share: float) -> list[Fault]:
    match knob:
        case "none":
            return []
        case "4xx":
            return [Fault(phase="rcpt", reply=_TRY_LATER, probability=share)]
        case "5xx":
            return [Fault(phase="rcpt", reply=_REFUSED, probability=share)]
        case "hang":
            return [Fault(phase="final", action="hang", probability=share)]
        case "drop_reply":
            return [Fault(phase="final", action="drop", probability=share)]
