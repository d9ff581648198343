"""Faults of a running SendGrid, turned over HTTP and seen by the provider."""

from collections.abc import AsyncIterator

import pytest

from tallypost_providers.sendgrid import SendGridProvider
from tallypost_providers.types import Outcome, SendResult
from tallypost_simulators.sendgrid_knobs import sendgrid_board
from tallypost_simulators.sendgrid_server import SendGridSimulator
from tests.support.fault_controls import Control, serve_control
from tests.support.sendgrid import sendgrid_stage
from tests.unit.providers.emails import make_email

IN_TIME_S = 10.0
Stage = tuple[SendGridSimulator, SendGridProvider]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """SendGrid and its provider."""
    async with sendgrid_stage() as both:
        yield both


@pytest.fixture
async def control(stage: Stage) -> AsyncIterator[Control]:
    """What turns the knobs of that SendGrid."""
    async with serve_control(sendgrid_board(stage[0].faults)) as served:
        yield served


async def send(stage: Stage) -> SendResult:
    """The result of one email."""
    return await stage[1].send(make_email(), IN_TIME_S)


async def test_sendgrid_behaves_until_a_knob_is_turned(stage: Stage, control: Control) -> None:
    status, knobs = await control.ask("GET")
    assert (status, knobs) == (200, {"latency_ms": 0, "knob": "none", "share": 1.0})
    assert (await send(stage)).recipients[0].outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("knob", "outcome", "taken"),
    [
        ("429", Outcome.THROTTLED, 0),
        ("5xx", Outcome.UNAVAILABLE, 0),
        ("5xx_silent", Outcome.AMBIGUOUS, 0),
        ("reset_before", Outcome.AMBIGUOUS, 0),
        ("reset_after", Outcome.AMBIGUOUS, 0),
        ("drop_reply", Outcome.AMBIGUOUS, 1),
        ("slow", Outcome.ACCEPTED, 1),
    ],
)
async def test_each_knob_is_seen_at_once_and_gone_at_once(
    stage: Stage, control: Control, knob: str, outcome: Outcome, taken: int
) -> None:
    await control.turn(knob=knob)
    assert (await send(stage)).recipients[0].outcome is outcome
    assert len(stage[0].messages) == taken
    await control.turn()
    assert (await send(stage)).recipients[0].outcome is Outcome.ACCEPTED


async def test_refusal_for_speed_says_in_sendgrids_words_when_to_come_back(
    stage: Stage, control: Control
) -> None:
    await control.turn(knob="429")
    result = await send(stage)
    assert result.pause_s == 1.0
    assert result.recipients[0].detail == "too many requests"
