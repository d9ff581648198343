"""Starts customers' programs in a process of their own, and asks how they get on."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from tests.faults.client_process import Report, serve
from tests.faults.plans import Plan
from tests.support.programs import wait_until
from tests.support.side_process import SideProcess, side_process

_ASK_EVERY_S = 0.1
_FINISHED_WITHIN_S = 240.0
# How many sends come once more at the end.
_REPEATED = 300


class Clients:
    """A plan under way; `running_clients` starts it."""

    def __init__(self, plan: Plan, duration_s: float, process: SideProcess) -> None:
        self.plan = plan
        self._process = process
        self._report: Report | None = None
        self.started_s: float = process.ask("start")
        self.planned_end_s = self.started_s + duration_s
        """When the last send goes out if nothing holds it up, on the monotonic clock."""

    @property
    def report(self) -> Report:
        """What the clients saw; they must have finished."""
        assert self._report is not None, "the clients are still sending"
        return self._report

    @property
    def answers(self) -> dict[int, set[UUID]]:
        """The ids of all positive answers to each send; the clients must have finished."""
        return {number: {UUID(id_) for id_ in ids} for number, ids in self.report.ids.items()}

    def accepted(self) -> int:
        """How many sends have a positive answer so far."""
        return int(self._process.ask("accepted"))

    def refusals(self) -> Counter[str]:
        """Answers and silences so far that clients took for a reason to try again."""
        refusals: Counter[str] = self._process.ask("refusals")
        return refusals

    def progress(self) -> str:
        """How far they are, in words."""
        refusals = "".join(f", {what} {n:,}" for what, n in self.refusals().most_common())
        return f"{self.accepted():,} of {self.plan.count:,} accepted{refusals}"

    def sending_for(self, seconds: float) -> bool:
        """Wait that long, less where all is sent before; True while there is more to send."""
        until_s = time.monotonic() + seconds
        while not (has_ended := self._process.ask("has_ended")):
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                break
            time.sleep(min(_ASK_EVERY_S, left_s))
        return not has_ended

    def finish(self) -> None:
        """Wait until every send has an answer or was given up."""
        if self._report is None:
            wait_until(
                lambda: self._process.ask("has_ended"),
                within_s=_FINISHED_WITHIN_S,
                what=f"{self.plan.name}: the clients have all answers",
            )
            self._report = self._process.ask("finish")

    def repeat_some(self) -> None:
        """Send a sample once more, with the same keys; the answers are added."""
        numbers = sorted(self.report.ids)
        if len(numbers) > _REPEATED:
            numbers = random.Random(1).sample(numbers, _REPEATED)  # noqa: S311 - a sample.
        self._report = self._process.ask("repeat", numbers)


@contextmanager
def running_clients(plan: Plan, api_url: str, duration_s: float) -> Iterator[Clients]:
    """Send a plan through the API over duration_s seconds; the processes end with the block."""
    with side_process("clients", serve, plan, f"{api_url}/emails", duration_s) as process:
        yield Clients(plan, duration_s, process)
