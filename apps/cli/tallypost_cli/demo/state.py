"""What the controller takes and answers."""

import datetime as dt
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tallypost_simulators.fault_control import FaultKnobs, Kind, Latency, Share

MAX_RATE_PER_S = 200
MAX_BURST = 5000
DEFAULT_RATE_PER_S = 5.0
DEFAULT_BURST = 1000


class TrafficCommand(Struct, frozen=True, forbid_unknown_fields=True):
    """Send so many emails a second; 0 stops."""

    rate_per_s: Annotated[
        float, Meta(ge=0, le=MAX_RATE_PER_S, description=f"a number from 0 to {MAX_RATE_PER_S}")
    ]


class BurstCommand(Struct, frozen=True, forbid_unknown_fields=True):
    """Send so many emails at once."""

    count: Annotated[
        int, Meta(ge=1, le=MAX_BURST, description=f"a whole number from 1 to {MAX_BURST}")
    ] = DEFAULT_BURST


class SMTPCommand(Struct, frozen=True, forbid_unknown_fields=True):
    """Turn knobs of the local mail server; those left out stay as they are."""

    latency_ms: Latency | UnsetType = UNSET
    knob: Kind | UnsetType = UNSET
    share: Share | UnsetType = UNSET


class StoryCommand(Struct, frozen=True, forbid_unknown_fields=True):
    """Play the story from its beginning, or stop it."""

    action: Annotated[Literal["start", "stop"], Meta(description="start or stop")]


class Action(Struct, frozen=True):
    """Something that was done, for people to read."""

    at: dt.datetime
    text: str


class TrafficState(Struct, frozen=True):
    """How much is sent. accepted and failed count emails since the start."""

    rate_per_s: float
    is_on: bool
    accepted: int
    failed: int


class StepState(Struct, frozen=True):
    """A step of the story: what a viewer should look at, and when, counted from its start."""

    name: str
    text: str
    at_s: float


class StoryState(Struct, frozen=True):
    """step is the place in steps of what plays now; None while nothing does."""

    is_playing: bool
    step: int | None
    steps: list[StepState]


class DemoState(Struct, frozen=True):
    """How everything stands. workers counts those that are ready; last_actions, newest first."""

    traffic: TrafficState
    smtp: FaultKnobs
    story: StoryState
    workers: int
    last_actions: list[Action]
