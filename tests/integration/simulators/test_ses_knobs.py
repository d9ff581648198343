"""Faults of a running SES, turned over HTTP and seen by the provider."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tallypost_providers.types import Outcome
from tallypost_simulators.ses_knobs import ses_board
from tests.support.fault_controls import Control, serve_control
from tests.support.ses import SES, running_ses
from tests.support.smtp_peers import wait_until
from tests.unit.providers.emails import make_email

IN_TIME_S = 10.0


@pytest.fixture
async def ses() -> AsyncIterator[SES]:
    """SES and its provider."""
    async with running_ses() as running:
        yield running


@pytest.fixture
async def control(ses: SES) -> AsyncIterator[Control]:
    """What turns the knobs of that SES."""
    async with serve_control(ses_board(ses.simulator.faults)) as served:
        yield served


async def send(ses: SES) -> Outcome:
    """The outcome of one email."""
    result = await ses.provider.send(make_email(), IN_TIME_S)
    return result.recipients[0].outcome


async def test_ses_behaves_until_a_knob_is_turned(ses: SES, control: Control) -> None:
    status, knobs = await control.ask("GET")
    assert (status, knobs) == (200, {"latency_ms": 0, "knob": "none", "share": 1.0})
    assert await send(ses) is Outcome.ACCEPTED


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
    ses: SES, control: Control, knob: str, outcome: Outcome, taken: int
) -> None:
    await control.turn(knob=knob)
    assert await send(ses) is outcome
    assert len(ses.simulator.messages) == taken
    await control.turn()
    assert await send(ses) is Outcome.ACCEPTED


async def test_refusal_for_speed_says_when_to_come_back(ses: SES, control: Control) -> None:
    await control.turn(knob="429")
    result = await ses.provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].retry_after_s == 1.0


async def test_whoever_is_kept_waiting_gets_the_answer_when_the_knob_is_turned(
    ses: SES, control: Control
) -> None:
    await control.turn(knob="hang")
    sending = asyncio.create_task(send(ses))
    await wait_until(lambda: len(ses.simulator.messages) == 1)
    assert not sending.done()
    await control.turn(knob="none")
    assert await sending is Outcome.ACCEPTED


async def test_a_share_of_requests_is_refused_and_the_others_are_not(
    ses: SES, control: Control
) -> None:
    await control.turn(knob="5xx", share=0.5)
    outcomes = [await send(ses) for _ in range(40)]
    assert 5 < outcomes.count(Outcome.UNAVAILABLE) < 35
    assert outcomes.count(Outcome.ACCEPTED) == len(ses.simulator.messages)


async def test_a_knob_of_another_simulator_changes_nothing(ses: SES, control: Control) -> None:
    await control.turn(knob="5xx")
    status, problem = await control.ask("PUT", {"knob": "4xx"})
    assert (status, problem["field"]) == (422, "knob")
    assert await send(ses) is Outcome.UNAVAILABLE
