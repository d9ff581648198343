"""The story as data, and how it plays, ends and gives way to a person."""

import asyncio

import pytest

from tallypost_cli.demo import story as stories
from tallypost_cli.demo.state import PROVIDERS, SES, SMTP
from tallypost_cli.demo.story import LENGTH_S, STEPS, Step, Story
from tallypost_simulators.fault_control import Knobs
from tallypost_simulators.http_knobs import HTTPKnobs
from tallypost_simulators.smtp_knobs import SMTPKnobs
from tests.unit.cli.demo.stand_ins import Scene, wait_until

_FAILURES = HTTPKnobs(knob="5xx")
_REFUSALS = SMTPKnobs(knob="4xx", share=0.6)


def _step(name: str = "step", **effects: object) -> Step:
    return Step(**({"name": name, "text": "Look.", "at_s": 0} | effects))  # type: ignore[arg-type]  # effects are of mixed types


def test_steps_come_in_order_and_the_story_lasts_about_a_minute() -> None:
    times = [step.at_s for step in STEPS]
    assert times[0] == 0
    assert times == sorted(set(times))
    assert times[-1] < LENGTH_S
    assert 60 <= LENGTH_S <= 80


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_each_step_tells_in_one_sentence_what_to_watch(step: Step) -> None:
    assert "watch" in step.text
    assert step.text.endswith(".")
    assert ". " not in step.text


def test_the_story_shows_each_trouble_and_leaves_every_provider_well() -> None:
    assert max(step.burst for step in STEPS) == 1000
    assert any(step.kills_worker for step in STEPS)
    assert any(step.flushes_redis for step in STEPS)
    assert any(_FAILURES in step.knobs.values() for step in STEPS)
    assert any(_REFUSALS in step.knobs.values() for step in STEPS)
    left: dict[str, Knobs] = {}
    for step in STEPS:
        left |= step.knobs
    assert left == {provider: kind() for provider, kind in PROVIDERS.items()}


async def test_every_effect_of_a_step_is_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "_BEFORE_KILL_S", 0.0)
    scene = Scene()
    step = _step(
        rate_per_s=7.0,
        burst=3,
        knobs={SES: _FAILURES, SMTP: _REFUSALS},
        kills_worker=True,
        flushes_redis=True,
    )
    story = Story(scene.stage, [step], length_s=0)
    await story.start()
    await wait_until(lambda: not story.state.is_playing)
    assert scene.traffic.rate_per_s == 7.0
    assert scene.traffic.bursts == [3]
    assert (scene.ses.knobs, scene.smtp.knobs) == (_FAILURES, _REFUSALS)
    assert scene.machinery.workers == ["worker-2"]
    assert scene.machinery.flushes == 1


async def test_a_story_plays_once_and_says_that_it_is_over() -> None:
    scene = Scene()
    story = Story(scene.stage, [_step("one"), _step("two")], length_s=0)
    await story.start()
    assert story.state.is_playing
    await wait_until(lambda: not story.state.is_playing)
    assert story.state.step is None
    assert [step.name for step in story.state.steps] == ["one", "two"]
    assert scene.notes[-3:] == [
        "Story: one.",
        "Story: two.",
        "The story is over; the knobs are yours.",
    ]


async def test_the_present_step_is_told_while_it_plays() -> None:
    scene = Scene()
    story = Story(scene.stage, [_step("one"), _step("two")], length_s=60)
    await story.start()
    await wait_until(lambda: story.state.step == 1)
    assert story.state.is_playing
    await story.close()


async def test_a_story_that_is_interrupted_takes_its_faults_back_and_says_so() -> None:
    scene = Scene()
    story = Story(scene.stage, [_step(knobs={SES: _FAILURES, SMTP: _REFUSALS})], length_s=60)
    await story.start()
    await wait_until(lambda: scene.smtp.knobs == _REFUSALS)
    await story.interrupt("somebody took over")
    assert not story.state.is_playing
    assert (scene.ses.knobs, scene.smtp.knobs) == (HTTPKnobs(), SMTPKnobs())
    assert "The story stops: somebody took over." in scene.notes


async def test_a_fault_that_is_just_being_turned_on_is_taken_back_too() -> None:
    scene = Scene()
    scene.ses.unanswered = _FAILURES
    story = Story(scene.stage, [_step(knobs={SES: _FAILURES})], length_s=60)
    await story.start()
    await wait_until(lambda: scene.ses.knobs == _FAILURES)
    await story.interrupt("somebody took over")
    assert scene.ses.knobs == HTTPKnobs()


async def test_an_interruption_after_the_end_changes_nothing() -> None:
    scene = Scene()
    story = Story(scene.stage, [_step()], length_s=0)
    await story.start()
    await wait_until(lambda: not story.state.is_playing)
    scene.smtp.knobs = _REFUSALS
    before = scene.notes
    await story.interrupt("somebody took over")
    assert scene.smtp.knobs == _REFUSALS
    assert scene.notes == before


async def test_a_step_that_cannot_be_done_now_is_told_and_the_story_goes_on() -> None:
    scene = Scene()
    scene.ses.is_away = True
    step = _step(knobs={SES: _FAILURES, SMTP: _REFUSALS}, burst=1)
    story = Story(scene.stage, [step, _step(burst=2)], length_s=0)
    await story.start()
    await wait_until(lambda: not story.state.is_playing)
    assert "The story goes on without this: away" in scene.notes
    assert scene.smtp.knobs == _REFUSALS
    assert scene.traffic.bursts == [1, 2]


async def test_starting_again_plays_from_the_beginning() -> None:
    scene = Scene()
    story = Story(scene.stage, [_step(burst=1), _step(at_s=60)], length_s=120)
    await story.start()
    await wait_until(lambda: scene.traffic.bursts == [1])
    await story.start()
    await wait_until(lambda: scene.traffic.bursts == [1, 1])
    assert story.state.step == 0
    await story.close()


async def test_two_starts_at_once_leave_one_story() -> None:
    scene = Scene()
    others = asyncio.all_tasks()
    story = Story(scene.stage, [_step(burst=1)], length_s=60)
    await story.start()
    await wait_until(lambda: scene.traffic.bursts == [1])
    await asyncio.gather(story.start(), story.start())
    await story.close()
    assert asyncio.all_tasks() == others


async def test_an_interruption_during_a_start_stops_the_story() -> None:
    scene = Scene()
    story = Story(scene.stage, [_step(burst=1)], length_s=60)
    await story.start()
    await wait_until(lambda: scene.traffic.bursts == [1])
    await asyncio.gather(story.start(), story.interrupt("somebody stopped it"))
    assert not story.state.is_playing
    await story.close()
