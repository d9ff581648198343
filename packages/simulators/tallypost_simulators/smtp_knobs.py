"""The knobs of the SMTP sink."""

from typing import Annotated, Literal

from msgspec import Meta

from tallypost_simulators.fault_control import FaultBoard, Knobs
from tallypost_simulators.smtp_faults import Fault, Faults

SMTPKind = Annotated[
    Literal["none", "4xx", "5xx", "hang", "drop_reply"],
    Meta(description="one of none, 4xx, 5xx, hang, drop_reply"),
]

_TRY_LATER = "450 4.2.1 mailbox busy, try again later"
_REFUSED = "550 5.1.1 no such mailbox"


class SMTPKnobs(Knobs, frozen=True, kw_only=True):
    """4xx refuses a share of recipients for now, 5xx for good; the others are about messages.

    hang takes one and stays silent until the knobs are turned again, drop_reply takes it and ends
    the connection.
    """

    knob: SMTPKind = "none"


def smtp_board(faults: Faults) -> FaultBoard[SMTPKnobs, Fault]:
    """The knobs of the sink whose faults these are; a turn acts from the next command on."""
    return FaultBoard(faults, SMTPKnobs, _faults_of)


def _faults_of(knobs: SMTPKnobs) -> list[Fault]:
    match knobs.knob:
        case "none":
            return []
        case "4xx":
            return [Fault(phase="rcpt", reply=_TRY_LATER, probability=knobs.share)]
        case "5xx":
            return [Fault(phase="rcpt", reply=_REFUSED, probability=knobs.share)]
        case "hang":
            return [Fault(phase="final", action="hang", probability=knobs.share)]
        case "drop_reply":
            return [Fault(phase="final", action="drop", probability=knobs.share)]
