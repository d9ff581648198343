"""What the controller takes and answers."""

import datetime as dt
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tallypost_simulators.fault_control import Knobs, Latency, Share
from tallypost_simulators.http_knobs import HTTPKind, HTTPKnobs
from tallypost_simulators.smtp_knobs import SMTPKind, SMTPKnobs

SES, SMTP = "ses", "smtp"
PROVIDERS: dict[str, type[Knobs]] = {SES: HTTPKnobs, SMTP: SMTPKnobs}
"""The knobs of each provider's simulator, in the order in which mail asks the providers."""

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


class KnobsCommand(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Turn knobs of a simulator; those left out stay as they are."""

    latency_ms: Latency | UnsetType = UNSET
    knob: str | UnsetType = UNSET
    share: Share | UnsetType = UNSET


class SESCommand(KnobsCommand, frozen=True, kw_only=True):
    """Turn knobs of the stand-in for Amazon SES."""

    knob: HTTPKind | UnsetType = UNSET


class SMTPCommand(KnobsCommand, frozen=True, kw_only=True):
    """Turn knobs of the local mail server."""

    knob: SMTPKind | UnsetType = UNSET


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
    """How everything stands. workers counts those that are ready; last_actions, newest first.

    simulators has the knobs of each by the name of its provider, the one that is asked first first.
    """

    traffic: TrafficState
    simulators: dict[str, Knobs]
    story: StoryState
    workers: int
    last_actions: list[Action]
