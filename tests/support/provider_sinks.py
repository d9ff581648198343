"""Providers with an API, each in a process of its own: our simulators, which count copies.

They take everything, or fail as they are told, and are asked over a pipe, as the SMTP sink is.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

from msgspec import Struct

from tallypost_simulators.http_faults import HTTPFault, HTTPFaults
from tallypost_simulators.sendgrid_account import API_KEY, Account, TakenMail
from tallypost_simulators.sendgrid_server import SendGridSimulator
from tallypost_simulators.ses_account import ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESAccount
from tallypost_simulators.ses_messages import TakenMessage
from tallypost_simulators.ses_simulator import SESSimulator
from tests.support.counting_sink import FarEnd, Tally
from tests.support.side_process import Answers, side_process

SETTINGS = {
    "sendgrid": {"TALLYPOST_SENDGRID_API_KEY": API_KEY},
    "ses": {
        "TALLYPOST_SES_REGION": "eu-west-1",
        "TALLYPOST_SES_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "TALLYPOST_SES_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    },
}
"""What a worker needs to use them, beside their address; by name."""

_EMAIL_ID = "tallypost_email_id"
# More than any test sends in a day.
_DAILY_QUOTA = 1e9
# What was asked for is done under these, and the client does not learn so as it should.
_TAKING = frozenset({"drop", "hang", "drip", "cut", "garbage"})


class ProviderSink(FarEnd):
    """A running provider."""

    def misbehave(self, *faults: HTTPFault, latency_s: float = 0.0) -> None:
        """Fail like this from now on, with latency_s before each answer; as it should without any.

        Whatever hangs gets its answer.
        """
        self._process.ask("misbehave", faults, latency_s)

    def turn(self, knob: str, value: object) -> None:
        """Turn a knob of the simulator's account; `forget` turns all of them back."""
        self._process.ask("turn", knob, value)

    def verify(self, domain: str) -> None:
        """Let mail be sent from a domain; `forget` may end that."""
        self._process.ask("verify", domain)


@contextmanager
def provider_sink(name: str) -> Iterator[ProviderSink]:
    """The provider of this name in SETTINGS, with an account that takes everything at once."""
    with side_process(name, _serve, name) as process:
        yield ProviderSink(process.ask("port"), process)


class _CountedFaults(HTTPFaults):
    """Counts how often a message is taken and its client does not learn of it as it should."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0

    def take(self) -> HTTPFault | None:
        fault = super().take()
        if fault is not None and fault.action in _TAKING:
            self.dropped += 1
        return fault


class _Running(Struct):
    """A simulator, whichever it is."""

    port: int
    # Of two types that have nothing in common but that their attributes are knobs.
    account: Callable[[], object]
    verify: Callable[[str], None]
    renew: Callable[[], None]
    """Give it an account on which nothing was turned, and forget what it took."""


_Start = Callable[[HTTPFaults, Tally], AbstractAsyncContextManager[_Running]]


@asynccontextmanager
async def _serve(name: str) -> AsyncIterator[Answers]:
    faults, tally = _CountedFaults(), Tally()
    async with _STARTS[name](faults, tally) as running:

        def misbehave(active: tuple[HTTPFault, ...], latency_s: float) -> None:
            faults.replace(*active, latency_s=latency_s)

        def forget() -> None:
            running.renew()
            tally.arrived = {}
            tally.taken = faults.dropped = 0

        yield {
            "port": lambda: running.port,
            "taken": lambda: tally.taken,
            "dropped": lambda: faults.dropped,
            "arrived": lambda: tally.arrived,
            "misbehave": misbehave,
            "turn": lambda knob, value: setattr(running.account(), knob, value),
            "verify": running.verify,
            "forget": forget,
        }


@asynccontextmanager
async def _sendgrid(faults: HTTPFaults, tally: Tally) -> AsyncIterator[_Running]:
    def note(mail: TakenMail) -> None:
        tally.note(mail.custom_args[_EMAIL_ID], mail.recipients)
        simulator.messages.clear()

    def renew() -> None:
        simulator.account = Account()

    simulator = SendGridSimulator(on_message=note, faults=faults)
    async with simulator:
        yield _Running(
            simulator.port, lambda: simulator.account, simulator.domains.add_verified, renew
        )


@asynccontextmanager
async def _ses(faults: HTTPFaults, tally: Tally) -> AsyncIterator[_Running]:
    async def note(message: TakenMessage) -> None:
        tally.note(message.tags[_EMAIL_ID], message.recipients)

    def renew() -> None:
        simulator.account = SESAccount()
        simulator.account.max_24_hour_send = _DAILY_QUOTA

    def verify(domain: str) -> None:
        simulator.account.add_domain(domain)

    simulator = SESSimulator(on_message=note, faults=faults)
    renew()
    async with simulator:
        yield _Running(simulator.port, lambda: simulator.account, verify, renew)


_STARTS: dict[str, _Start] = {"sendgrid": _sendgrid, "ses": _ses}
