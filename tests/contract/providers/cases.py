"""What the contract suite needs to know about a provider to put it through its paces.

A new provider joins by adding a case to CASES; the tests do not change. One of another distribution
is judged alone, where the variable CASE_VARIABLE names its case as `module:function`.
"""

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from msgspec import Struct

from tallypost_core.settings.providers import SMTPSettings
from tallypost_providers.errors import StoreOutcomeUnknown
from tallypost_providers.inbox import InboxProvider
from tallypost_providers.message import render
from tallypost_providers.mime import build_message
from tallypost_providers.provider_domains import ProviderDomain
from tallypost_providers.smtp import SMTPProvider
from tallypost_providers.types import OutgoingEmail, Provider
from tallypost_simulators.http_faults import HTTPFault
from tallypost_simulators.sendgrid_account import TakenMail
from tallypost_simulators.ses_messages import TakenMessage
from tallypost_simulators.smtp_faults import Fault, Faults
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tests.support.sendgrid import expected_message, sendgrid_stage
from tests.support.ses import answer, running_ses
from tests.unit.providers.emails import SENDING_DOMAIN

CASE_VARIABLE = "TALLYPOST_TEST_PROVIDER_CASE"
LATE_S = 0.2
OUTSIDE_ASCII = "jürgen@example.net"
"""An address that providers which name no such ones to anybody refuse by themselves."""


class Delivery(Struct, frozen=True):
    """One message as the other side has it."""

    recipients: tuple[str, ...]
    message: bytes


class Case(Struct):
    """A provider with a well-behaved other side that can be told to fail."""

    provider: Provider
    deliveries: Callable[[], list[Delivery]]
    """What the other side has taken so far, oldest first."""
    fail: Callable[[], None]
    """From now on the other side states that it takes nothing."""
    fall_silent: Callable[[], None]
    """From now on the other side takes a message and never says so."""
    answer_late: Callable[[], None]
    """From now on the other side takes a message and says so a moment later."""
    lose_answer: Callable[[], None]
    """From now on the other side takes a message, and its answer breaks off on the way."""
    recover: Callable[[], None]
    """All is well again; whoever waits for an answer may get it."""
    expect: Callable[[OutgoingEmail], bytes] = render
    """The message that arrives of an email, which without `signs_dkim` is the signed one."""
    refuse_one: Callable[[], str] | None = None
    """From now on the address that it names is refused, by whichever side, and others are taken.
    None where the provider takes an email for all of its recipients or for nobody."""


@asynccontextmanager
async def smtp_case() -> AsyncIterator[Case]:
    """SMTP to the sink simulator."""
    deliveries: list[Delivery] = []

    async def keep(message: ReceivedMessage) -> None:
        deliveries.append(Delivery(message.recipients, message.body))

    faults = Faults()

    def refuse_one() -> str:
        unknown = Fault(phase="rcpt", pattern="^refused@", reply="550 5.1.1 no such user")
        faults.active.append(unknown)
        return "refused@example.net"

    async with SMTPSink(keep, faults=faults) as sink:
        settings = SMTPSettings(host="127.0.0.1", port=sink.port, security="none", connections=4)
        provider = SMTPProvider(settings, "main")
        try:
            yield Case(
                provider,
                lambda: deliveries,
                fail=lambda: faults.active.append(Fault(phase="mail", reply="421 4.3.2 closing")),
                fall_silent=lambda: faults.active.append(Fault(phase="final", action="hang")),
                answer_late=lambda: faults.active.append(Fault(phase="final", action="drip")),
                lose_answer=lambda: faults.active.append(Fault(phase="final", action="drop")),
                recover=faults.active.clear,
                refuse_one=refuse_one,
            )
        finally:
            await provider.close()


@asynccontextmanager
async def inbox_case() -> AsyncIterator[Case]:
    """The Inbox with a store in memory."""
    deliveries: list[Delivery] = []
    state = {"mode": "well"}

    async def store(email: OutgoingEmail, message: bytes) -> None:
        if state["mode"] == "fails":
            raise ConnectionError
        addresses = tuple(recipient.address for recipient in email.recipients)
        deliveries.append(Delivery(addresses, message))
        if state["mode"] == "silent":
            await asyncio.Event().wait()
        if state["mode"] == "late":
            await asyncio.sleep(LATE_S)
        if state["mode"] == "loses":
            raise StoreOutcomeUnknown

    yield Case(
        InboxProvider(store),
        lambda: deliveries,
        fail=lambda: state.update(mode="fails"),
        fall_silent=lambda: state.update(mode="silent"),
        answer_late=lambda: state.update(mode="late"),
        lose_answer=lambda: state.update(mode="loses"),
        recover=lambda: state.update(mode="well"),
    )


@asynccontextmanager
async def ses_case() -> AsyncIterator[Case]:
    """Amazon SES to its simulator."""
    deliveries: list[Delivery] = []

    async def keep(message: TakenMessage) -> None:
        deliveries.append(Delivery(message.recipients, message.raw))

    async with running_ses(keep) as ses:
        faults = ses.simulator.faults
        # Opens the SDK's client, which may take longer than the shortest handover of the suite.
        await ses.provider.ensure_domain(ProviderDomain(name=SENDING_DOMAIN, dkim_keys=()))
        yield Case(
            ses.provider,
            lambda: deliveries,
            fail=lambda: faults.active.append(answer(503, "ServiceUnavailable", "Later.")),
            fall_silent=lambda: faults.active.append(HTTPFault(action="hang")),
            answer_late=lambda: faults.active.append(HTTPFault(action="drip", drip_s=0.001)),
            lose_answer=lambda: faults.active.append(HTTPFault(action="drop")),
            recover=faults.replace,
            # SES signs, by the key that it was given.
            expect=build_message,
            refuse_one=lambda: OUTSIDE_ASCII,
        )


@asynccontextmanager
async def sendgrid_case() -> AsyncIterator[Case]:
    """SendGrid to its simulator."""
    deliveries: list[Delivery] = []

    def keep(mail: TakenMail) -> None:
        deliveries.append(Delivery(mail.recipients, mail.message))

    unavailable = b'{"errors":[{"message":"service unavailable"}]}'
    async with sendgrid_stage(keep) as (simulator, provider):
        faults = simulator.faults
        yield Case(
            provider,
            lambda: deliveries,
            fail=lambda: faults.active.append(HTTPFault(status=503, body=unavailable)),
            fall_silent=lambda: faults.active.append(HTTPFault(action="hang")),
            answer_late=lambda: faults.active.append(HTTPFault(action="drip", drip_s=0.001)),
            lose_answer=lambda: faults.active.append(HTTPFault(action="drop")),
            recover=faults.replace,
            expect=expected_message,
            refuse_one=lambda: OUTSIDE_ASCII,
        )


OpenCase = Callable[[], AbstractAsyncContextManager[Case]]

CASES: dict[str, OpenCase] = {
    "inbox": inbox_case,
    "sendgrid": sendgrid_case,
    "ses": ses_case,
    "smtp": smtp_case,
}


def list_cases() -> list[str]:
    """What the suite judges: all of CASES, or the one that CASE_VARIABLE names."""
    address = os.environ.get(CASE_VARIABLE)
    return [address] if address else sorted(CASES)


def open_case(name: str) -> AbstractAsyncContextManager[Case]:
    """One of `list_cases`, which is well until it is told to fail."""
    if name in CASES:
        return CASES[name]()
    module, _, function = name.partition(":")
    open_: OpenCase = getattr(importlib.import_module(module), function)
    return open_()
