"""What can be done to the system, whether a person does it or the story; each leaves a note."""

from typing import Protocol

from tallypost_cli.demo.journal import Journal
from tallypost_cli.demo.state import TrafficState
from tallypost_simulators.fault_control import FaultKnobs

QUIET = FaultKnobs()

_KNOB_WORDS = {
    "4xx": "refuses {share} of recipients for now (4xx)",
    "5xx": "refuses {share} of recipients for good (5xx)",
    "hang": "takes {share} of messages and stays silent",
    "drop_reply": "takes {share} of messages and ends the connection before the reply",
}


class Sender(Protocol):
    """Sends sample emails; see `Traffic`."""

    @property
    def state(self) -> TrafficState: ...
    def set_rate(self, rate_per_s: float) -> None: ...
    def burst(self, count: int) -> None: ...
    def drop_waiting(self) -> None: ...


class FaultySMTP(Protocol):
    """The local mail server; see `MailServer`."""

    async def read_knobs(self) -> FaultKnobs: ...
    async def turn_knobs(self, knobs: FaultKnobs) -> None: ...


class Breakable(Protocol):
    """Processes that can be broken; see `Machinery`."""

    def count_workers(self) -> int: ...
    async def kill_worker(self) -> str: ...
    async def flush_redis(self) -> None: ...


class Stage:
    """One method for each thing; those that cannot be done now raise ControlRefused."""

    def __init__(
        self, traffic: Sender, mail_server: FaultySMTP, machinery: Breakable, journal: Journal
    ) -> None:
        self.traffic = traffic
        self.mail_server = mail_server
        self.machinery = machinery
        self.journal = journal

    def set_rate(self, rate_per_s: float) -> None:
        """Send so many sample emails a second."""
        self.traffic.set_rate(rate_per_s)
        words = f"{rate_per_s:g} emails a second" if rate_per_s else "none"
        self.journal.note(f"Sample traffic: {words}.")

    def burst(self, count: int) -> None:
        """Send so many sample emails at once."""
        self.traffic.burst(count)
        self.journal.note(f"A burst of {count} emails.")

    async def turn_knobs(self, knobs: FaultKnobs) -> None:
        """Let the local mail server misbehave like this."""
        await self.mail_server.turn_knobs(knobs)
        self.journal.note(f"The mail server {_describe(knobs)}.")

    async def kill_worker(self) -> None:
        """Kill a worker process."""
        self.journal.note(f"Killed {await self.machinery.kill_worker()} with SIGKILL.")

    async def flush_redis(self) -> None:
        """Empty Redis."""
        await self.machinery.flush_redis()
        self.journal.note("Flushed Redis.")


def _describe(knobs: FaultKnobs) -> str:
    words = _KNOB_WORDS.get(knobs.knob, "takes everything").format(share=f"{knobs.share:.0%}")
    return f"{words}, {knobs.latency_ms} ms before each reply" if knobs.latency_ms else words
