"""What a check of an account finds, step by step, without sending anything."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from msgspec import Struct

from tallypost_providers.base import clip

State = Literal["good", "warning", "failed", "not_tried"]

Watch = Callable[[str, str], None]
"""Hears the name of each step that is done, with a detail."""


class CheckStep(Struct, frozen=True):
    """One step of a check."""

    name: str
    state: State
    detail: str = ""
    """The peer's own words where there are some, clipped; no secret."""


class CheckList:
    """The steps of one check, in their order; it ends with the first one that fails."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = [*names]
        self._done: list[CheckStep] = []

    def pass_(self, name: str, detail: str = "") -> None:
        """The next step is good."""
        self._note(name, "good", detail)

    def warn(self, name: str, detail: str) -> None:
        """The next step lets mail go, and somebody should know something about it."""
        self._note(name, "warning", detail)

    def fail(self, detail: str) -> tuple[CheckStep, ...]:
        """The next step has failed, so that the check is over."""
        self._note(self._names[len(self._done)], "failed", detail)
        return self.result()

    def result(self) -> tuple[CheckStep, ...]:
        """All steps; those that were not come to are not tried."""
        left: Sequence[str] = self._names[len(self._done) :]
        return (*self._done, *(CheckStep(name, "not_tried") for name in left))

    def _note(self, name: str, state: State, detail: str) -> None:
        expected = self._names[len(self._done)]
        if name != expected:
            raise ValueError(f"{name!r} is not the next step, which is {expected!r}")
        self._done.append(CheckStep(name, state, clip(detail)))


def unwatched(name: str, detail: str) -> None:
    """A Watch that nobody looks through."""
