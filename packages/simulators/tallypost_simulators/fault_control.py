"""Lets another process turn a simulator's faults while it runs.

`GET /faults` tells how the knobs stand, `PUT /faults` sets all of them. Every simulator has the
same knobs and gives them a meaning in its own protocol.
"""

from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct

from tallypost_simulators.control_app import ControlApp, Endpoint, Nothing

Knob = Literal["none", "4xx", "5xx", "hang", "drop_reply"]

# What waits for a reply when the knob is turned back still waits this long.
MAX_LATENCY_MS = 2000

Latency = Annotated[
    int, Meta(ge=0, le=MAX_LATENCY_MS, description=f"a whole number from 0 to {MAX_LATENCY_MS}")
]
Kind = Annotated[Knob, Meta(description="one of none, 4xx, 5xx, hang, drop_reply")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]


class FaultKnobs(Struct, frozen=True, forbid_unknown_fields=True):
    """How a simulator misbehaves: a share of what reaches it is answered by one kind of fault.

    4xx refuses for now, 5xx for good, hang takes it and stays silent until the knobs are turned
    again, drop_reply takes it and ends the connection. latency_ms comes before every reply.
    """

    latency_ms: Latency = 0
    knob: Kind = "none"
    share: Share = 1.0


class Adjustable(Protocol):
    """A simulator that misbehaves on request."""

    def read_knobs(self) -> FaultKnobs:
        """How the knobs stand."""

    def turn_knobs(self, knobs: FaultKnobs) -> None:
        """Misbehave like this from now on; what hangs is let go."""


def fault_control(simulator: Adjustable, token: str) -> ControlApp:
    """The app by which others turn a simulator's knobs; both endpoints answer how these stand."""

    async def read(_: Nothing) -> FaultKnobs:
        return simulator.read_knobs()

    async def turn(knobs: FaultKnobs) -> FaultKnobs:
        simulator.turn_knobs(knobs)
        return simulator.read_knobs()

    return ControlApp(
        token,
        {("GET", "/faults"): Endpoint(read), ("PUT", "/faults"): Endpoint(turn, FaultKnobs)},
    )
