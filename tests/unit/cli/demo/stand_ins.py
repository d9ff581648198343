"""Stand-ins for what the demo acts on; each keeps what was asked of it."""

import asyncio
from collections.abc import Callable

from tallypost_cli.demo.journal import Journal
from tallypost_cli.demo.stage import Stage
from tallypost_cli.demo.state import PROVIDERS, SES, SMTP, TrafficState
from tallypost_simulators.control_app import ControlRefused
from tallypost_simulators.fault_control import Knobs

_IN_TIME_S = 10.0


class FakeTraffic:
    """Sends nothing."""

    def __init__(self) -> None:
        self.rate_per_s = 5.0
        self.bursts: list[int] = []

    @property
    def state(self) -> TrafficState:
        return TrafficState(self.rate_per_s, self.rate_per_s > 0, 0, 0)

    def set_rate(self, rate_per_s: float) -> None:
        self.rate_per_s = rate_per_s

    def burst(self, count: int) -> None:
        self.bursts.append(count)

    def drop_waiting(self) -> None:
        self.bursts.clear()


class FakeSimulator:
    """Has knobs and no mail."""

    def __init__(self, kind: type[Knobs]) -> None:
        self.kind = kind
        self.knobs = kind()
        self.is_away = False
        # Turned as asked, and never answered.
        self.unanswered: Knobs | None = None

    async def read_knobs(self) -> Knobs:
        if self.is_away:
            raise ControlRefused("away")
        return self.knobs

    async def turn_knobs(self, knobs: Knobs) -> None:
        if self.is_away:
            raise ControlRefused("away")
        self.knobs = knobs
        if knobs == self.unanswered:
            await asyncio.Event().wait()


class FakeMachinery:
    """Two workers, and a Redis that counts its flushes."""

    def __init__(self) -> None:
        self.workers = ["worker", "worker-2"]
        self.flushes = 0

    def count_workers(self) -> int:
        return len(self.workers)

    async def kill_worker(self) -> str:
        if not self.workers:
            raise ControlRefused("No worker is ready.")
        return self.workers.pop(0)

    async def flush_redis(self) -> None:
        self.flushes += 1


class Scene:
    """A stage with everything that stands on it."""

    def __init__(self) -> None:
        self.traffic = FakeTraffic()
        simulators = {name: FakeSimulator(kind) for name, kind in PROVIDERS.items()}
        self.ses, self.smtp = simulators[SES], simulators[SMTP]
        self.machinery = FakeMachinery()
        self.journal = Journal()
        self.stage = Stage(self.traffic, simulators, self.machinery, self.journal)

    @property
    def notes(self) -> list[str]:
        """All notes in one list, oldest first."""
        return [action.text for action in reversed(self.journal.list_newest())]


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; raises TimeoutError where it does not come to that."""
    async with asyncio.timeout(_IN_TIME_S):
        while not condition():  # noqa: ASYNC110 -- what is awaited has no event.
            await asyncio.sleep(0.001)
