"""Lets another process turn a simulator's faults while it runs.

`GET /faults` tells how the knobs stand, `PUT /faults` sets all of them. Each simulator declares its
knobs, in one Struct, and says which faults they stand for.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

from tallypost_simulators.control_app import ControlApp, Endpoint, Nothing
from tallypost_simulators.fault_list import FaultList, FaultT

# What waits for a reply when the knob is turned back still waits this long.
MAX_LATENCY_MS = 2000

Latency = Annotated[
    int, Meta(ge=0, le=MAX_LATENCY_MS, description=f"a whole number from 0 to {MAX_LATENCY_MS}")
]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]


class Knobs(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a simulator misbehaves: a share of what reaches it gets one kind of fault.

    Each simulator names its kinds in a Struct of its own, where none is a kind and comes first.
    latency_ms comes before every reply.
    """

    latency_ms: Latency = 0
    knob: str = "none"
    share: Share = 1.0


KnobsT = TypeVar("KnobsT", bound=Knobs)


class FaultBoard(Generic[KnobsT, FaultT]):
    """The knobs of one simulator; each is at rest until it is turned."""

    def __init__(
        self,
        faults: FaultList[FaultT],
        kind: type[KnobsT],
        faults_of: Callable[[KnobsT], Sequence[FaultT]],
    ) -> None:
        """faults are the simulator's own; what is in them gives way to the first turn of a knob.

        faults_of leaves the latency out.
        """
        self.kind = kind
        self._faults = faults
        self._faults_of = faults_of
        self._knobs = kind()

    def read_knobs(self) -> KnobsT:
        """How the knobs stand."""
        return self._knobs

    def turn_knobs(self, knobs: KnobsT) -> None:
        """Misbehave like this from now on; what hangs is let go."""
        self._knobs = knobs
        self._faults.replace(*self._faults_of(knobs), latency_s=knobs.latency_ms / 1000)


def fault_control(board: FaultBoard[KnobsT, FaultT], token: str) -> ControlApp:
    """The app by which others turn a simulator's knobs; both endpoints answer how these stand."""

    async def read(_: Nothing) -> KnobsT:
        return board.read_knobs()

    async def turn(knobs: KnobsT) -> KnobsT:
        board.turn_knobs(knobs)
        return board.read_knobs()

    return ControlApp(
        token,
        {("GET", "/faults"): Endpoint(read), ("PUT", "/faults"): Endpoint(turn, board.kind)},
    )
