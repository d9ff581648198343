"""Bulk mail stands aside for other mail, and never for more than its share of the time."""

import asyncio
import random
from collections.abc import Callable

import pytest

from tallypost_core import clock
from tallypost_domain.emails.types import Lane
from tallypost_worker.right_of_way import SHARE, RightOfWay

URGENT = Lane.TRANSACTIONAL


class Timer:
    """What `call_later` returns."""

    def __init__(self, at_s: float, call: Callable[[], None]) -> None:
        self.at_s = at_s
        self._call = call
        self._is_over = False

    def cancel(self) -> None:
        self._is_over = True

    def run(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._call()


class Time:
    """A clock that stands until the test moves it, with the timers of an event loop."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._timers: list[Timer] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        self._timers.append(Timer(self.now_s + delay_s, call))
        return self._timers[-1]

    def pass_by(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        for timer in sorted(self._timers, key=lambda timer: timer.at_s):
            if timer.at_s <= end_s:
                self.now_s = timer.at_s
                timer.run()
                self._timers.remove(timer)
        self.now_s = end_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    stopped = Time()
    monkeypatch.setattr(clock, "monotonic_s", lambda: stopped.now_s)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: stopped)
    return stopped


class Campaign:
    """Counts for how long bulk mail stood still."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._closed_at_s = 0.0
        self.opened = 0
        self.stood_s = 0.0
        self.way = RightOfWay(self._on_open)

    def meet(self) -> None:
        """Something that goes first comes."""
        was_open = self.way.is_open(Lane.BULK)
        self.way.begin(URGENT)
        if was_open and not self.way.is_open(Lane.BULK):
            self._closed_at_s = self._time.now_s

    def _on_open(self) -> None:
        assert self.way.is_open(Lane.BULK)
        self.opened += 1
        self.stood_s += self._time.now_s - self._closed_at_s


def test_bulk_mail_stands_still_until_the_last_of_the_others_has_passed(time: Time) -> None:
    campaign = Campaign(time)
    way = campaign.way
    with way.passing(URGENT):
        way.begin(URGENT)
        assert not way.is_open(Lane.BULK)
        assert way.is_open(URGENT)
    assert not way.is_open(Lane.BULK)
    assert campaign.opened == 0
    way.end(URGENT)
    assert way.is_open(Lane.BULK)
    assert campaign.opened == 1


def test_bulk_mail_stops_nothing(time: Time) -> None:
    campaign = Campaign(time)
    with campaign.way.passing(Lane.BULK):
        assert campaign.way.is_open(Lane.BULK)
    assert campaign.opened == 0


def test_other_mail_that_hangs_lets_bulk_mail_go_on(time: Time) -> None:
    campaign = Campaign(time)
    campaign.meet()
    time.pass_by(60.0)
    assert campaign.opened == 1
    assert 0.2 < campaign.stood_s < 0.4
    # What is saved up meanwhile is for the next one.
    campaign.meet()
    time.pass_by(60.0)
    assert campaign.opened == 2
    assert 0.4 < campaign.stood_s < 0.8


@pytest.mark.parametrize("each_s", [0.01, 0.05, 0.3, 2.0])
def test_steady_flow_of_other_mail_takes_no_more_than_its_share(time: Time, each_s: float) -> None:
    campaign = Campaign(time)
    chance = random.Random(7)  # noqa: S311 - the same run each time
    began_s = time.now_s
    while (passed_s := time.now_s - began_s) < 60.0:
        campaign.meet()
        time.pass_by(chance.uniform(0.0, 2 * each_s))
        campaign.way.end(URGENT)
    assert campaign.stood_s <= SHARE * passed_s + 0.4
    assert campaign.stood_s >= SHARE * passed_s * 0.5


async def test_wait_ends_when_bulk_mail_may_move() -> None:
    way = RightOfWay(lambda: None)
    await way.wait_until_open(Lane.BULK)
    way.begin(URGENT)
    await way.wait_until_open(URGENT)
    waiting = asyncio.create_task(way.wait_until_open(Lane.BULK))
    await asyncio.sleep(0)
    assert not waiting.done()
    way.end(URGENT)
    await waiting
