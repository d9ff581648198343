"""What may run beside the apps, in the supervisor's own process, and be told of them."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from tallypost_cli.programs import Program
from tallypost_cli.sample_access import SampleAccess
from tallypost_cli.supervisor import Supervisor


class Started(Struct, frozen=True):
    """A system whose apps are ready.

    ports is by variable. redis_url is that of the embedded Redis, None where the settings name
    another.
    """

    supervisor: Supervisor
    access: SampleAccess
    ports: Mapping[str, int]
    console_url: str
    redis_url: str | None


class Companion(Protocol):
    """Runs beside one system: `settings` and `refine` before its start, `start` after it."""

    @property
    def command(self) -> str:
        """The target of `make` that starts the system with this companion."""

    def settings(self) -> dict[str, str]:
        """More variables for the apps; those of the local installation win."""

    def refine(self, programs: list[Program]) -> list[Program]:
        """The programs to run in the place of the apps'."""

    async def start(self, started: Started) -> list[str]:
        """Begin; returns more lines for the person at the terminal.

        Must neither block nor start threads: see the supervisor.
        """

    async def stop(self) -> None:
        """End what `start` began, if it came to that; the apps still run."""


class Alone:
    """No companion: what `up` runs with."""

    command = "up"

    def settings(self) -> dict[str, str]:
        """None."""
        return {}

    def refine(self, programs: list[Program]) -> list[Program]:
        """The apps as they are."""
        return programs

    async def start(self, _started: Started) -> list[str]:
        """Nothing to begin."""
        return []

    async def stop(self) -> None:
        """Nothing to end."""
