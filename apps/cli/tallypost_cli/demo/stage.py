"""What can be done to the system, whether a person does it or the story; each leaves a note."""

from collections.abc import Mapping
from typing import Protocol

from tallypost_cli.demo.journal import Journal
from tallypost_cli.demo.state import TrafficState
from tallypost_simulators.fault_control import Knobs
from tallypost_simulators.http_knobs import HTTPKnobs
from tallypost_simulators.smtp_knobs import SMTPKnobs

KNOB_WORDS: Mapping[type[Knobs], Mapping[str, str]] = {
    HTTPKnobs: {
        "429": "finds {share} of requests too fast (429)",
        "5xx": "says that {share} of requests failed (5xx)",
        "5xx_silent": "answers {share} of requests with a 502 and no word",
        "hang": "takes {share} of messages and stays silent",
        "slow": "takes {share} of messages and answers byte by byte",
        "reset_before": "resets {share} of connections before it reads the message",
        "reset_after": "resets {share} of connections once it has read the message",
        "drop_reply": "takes {share} of messages and resets the connection before the answer",
    },
    SMTPKnobs: {
        "4xx": "refuses {share} of recipients for now (4xx)",
        "5xx": "refuses {share} of recipients for good (5xx)",
        "hang": "takes {share} of messages and stays silent",
        "drop_reply": "takes {share} of messages and ends the connection before the reply",
    },
}


class Sender(Protocol):
    """Sends sample emails; see `Traffic`."""

    @property
    def state(self) -> TrafficState: ...
    def set_rate(self, rate_per_s: float) -> None: ...
    def burst(self, count: int) -> None: ...
    def drop_waiting(self) -> None: ...


class Faulty(Protocol):
    """What a provider speaks to; see `Simulator`."""

    kind: type[Knobs]

    async def read_knobs(self) -> Knobs: ...
    async def turn_knobs(self, knobs: Knobs) -> None: ...


class Breakable(Protocol):
    """Processes that can be broken; see `Machinery`."""

    def count_workers(self) -> int: ...
    async def kill_worker(self) -> str: ...
    async def flush_redis(self) -> None: ...


class Stage:
    """One method for each thing; those that cannot be done now raise ControlRefused."""

    def __init__(
        self,
        traffic: Sender,
        simulators: Mapping[str, Faulty],
        machinery: Breakable,
        journal: Journal,
    ) -> None:
        """simulators are by the name of their provider, the one that is asked first first."""
        self.traffic = traffic
        self.simulators = simulators
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

    async def turn_knobs(self, provider: str, knobs: Knobs) -> None:
        """Let a provider's simulator misbehave like this."""
        await self.simulators[provider].turn_knobs(knobs)
        self.journal.note(f"{provider} {_describe(knobs)}.")

    async def rest(self, provider: str) -> None:
        """Let a provider's simulator behave."""
        await self.turn_knobs(provider, self.simulators[provider].kind())

    async def kill_worker(self) -> None:
        """Kill a worker process."""
        self.journal.note(f"Killed {await self.machinery.kill_worker()} with SIGKILL.")

    async def flush_redis(self) -> None:
        """Empty Redis."""
        await self.machinery.flush_redis()
        self.journal.note("Flushed Redis.")


def _describe(knobs: Knobs) -> str:
    words = KNOB_WORDS[type(knobs)].get(knobs.knob, "takes everything")
    words = words.format(share=f"{knobs.share:.0%}")
    return f"{words}, {knobs.latency_ms} ms before each reply" if knobs.latency_ms else words
