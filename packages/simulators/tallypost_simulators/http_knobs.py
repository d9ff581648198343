"""The knobs of a simulator of an HTTP API."""

from typing import Annotated, Literal

from msgspec import Meta, structs

from tallypost_simulators.fault_control import FaultBoard, Knobs
from tallypost_simulators.http_faults import HTTPFault, HTTPFaults

HTTPKind = Annotated[
    Literal[
        "none", "429", "5xx", "5xx_silent", "hang", "slow", "reset_before", "reset_after",
        "drop_reply",
    ],
    Meta(
        description="one of none, 429, 5xx, 5xx_silent, hang, slow, reset_before, reset_after, "
        "drop_reply"
    ),
]  # fmt: skip


class HTTPKnobs(Knobs, frozen=True, kw_only=True):
    """429 and 5xx refuse a share of requests in the API's own form, 5xx_silent as a gateway does.

    reset_before resets the connection before the body of a request is read, reset_after once it
    is. The others do what was asked: hang answers once the knobs are turned again, slow one byte
    at a time, and drop_reply resets the connection in the place of an answer.
    """

    knob: HTTPKind = "none"


def http_board(
    faults: HTTPFaults, *, throttled: HTTPFault, failed: HTTPFault
) -> FaultBoard[HTTPKnobs, HTTPFault]:
    """The knobs of the simulator whose faults these are; a turn acts from the next request on.

    throttled and failed are how the API answers 429 and 5xx.
    """
    kinds: dict[HTTPKind, HTTPFault] = {
        "429": throttled,
        "5xx": failed,
        "5xx_silent": HTTPFault(status=502),
        "hang": HTTPFault(action="hang"),
        "slow": HTTPFault(action="drip"),
        "reset_before": HTTPFault(action="reset_before"),
        "reset_after": HTTPFault(action="reset_after"),
        "drop_reply": HTTPFault(action="drop"),
    }

    def faults_of(knobs: HTTPKnobs) -> list[HTTPFault]:
        if knobs.knob == "none":
            return []
        return [structs.replace(kinds[knobs.knob], probability=knobs.share)]

    return FaultBoard(faults, HTTPKnobs, faults_of)
