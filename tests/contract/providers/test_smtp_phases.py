"""Every phase of a handover with every way to fail, one command at a time and pipelined.

The expectations are written down by hand from the standards; the table of the provider is judged
by them and not asked for them.
"""

import asyncio

import pytest
from msgspec import Struct

from tallypost_providers.types import Outcome
from tests.contract.providers.conftest import MakePeer, MakeProvider
from tests.support.smtp_peers import Security
from tests.support.smtp_scripts import CLOSE, DRIP, DROP, GARBAGE, HANG, OVERLONG, Step
from tests.unit.providers.emails import make_email

IN_TIME_S = 10.0
# Two thirds of it are for what comes before the body, all phases of which happen at once here.
SHORT_S = 2.0
LOGIN = ("relay-user", "relay-password")

UNAVAILABLE, DEFERRED, REJECTED = Outcome.UNAVAILABLE, Outcome.DEFERRED, Outcome.REJECTED
SUSPENDED, AMBIGUOUS = Outcome.SUSPENDED, Outcome.AMBIGUOUS

SILENCES = {
    HANG: "timeout",
    DRIP: "timeout",
    DROP: "reset",
    CLOSE: "reset",
    GARBAGE: "garbage",
    OVERLONG: "garbage",
}
REPLIES = ("421 4.3.2 closing", "451 4.3.0 later", "550 5.7.1 no")


class Fate(Struct, frozen=True):
    """What a failure at one step means, by its kind."""

    silence: Outcome
    closing: Outcome
    temporary: Outcome
    permanent: Outcome
    phase: str
    is_body_sent: bool = False


FATES: dict[Step, Fate] = {
    "connect": Fate(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, "connect"),
    "hello": Fate(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, "hello"),
    "tls": Fate(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, "tls"),
    "auth": Fate(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, SUSPENDED, "auth"),
    "mail": Fate(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, SUSPENDED, "mail"),
    "rcpt": Fate(UNAVAILABLE, UNAVAILABLE, DEFERRED, REJECTED, "rcpt"),
    "data": Fate(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, REJECTED, "data"),
    "body": Fate(AMBIGUOUS, UNAVAILABLE, UNAVAILABLE, REJECTED, "final", is_body_sent=True),
    "final": Fate(AMBIGUOUS, UNAVAILABLE, UNAVAILABLE, REJECTED, "final", is_body_sent=True),
}


class Seen(Struct, frozen=True):
    """What came of one handover, and whether the peer got a byte of the message."""

    outcome: Outcome
    phase: str
    signal: str
    is_body_sent: bool
    connections: int


async def observe(
    step: Step, action: str, make_peer: MakePeer, make_provider: MakeProvider, timeout_s: float
) -> Seen:
    peer = await make_peer({step: action})
    security: Security = "starttls" if step == "tls" else "none"
    provider = make_provider(peer.port, security=security, login=LOGIN)
    result = await provider.send(make_email(), timeout_s)
    (entry,) = result.recipients
    signal = result.evidence.get("silence") or f"{entry.reply_code} {entry.detail}"
    return Seen(entry.outcome, result.phase, signal, b"Subject:" in peer.received, peer.connections)


@pytest.mark.parametrize("action", SILENCES)
async def test_silence_in_any_phase_means_what_the_phase_makes_of_it(
    action: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    timeout_s = SHORT_S if SILENCES[action] == "timeout" else IN_TIME_S
    seen = await asyncio.gather(
        *(observe(step, action, make_peer, make_provider, timeout_s) for step in FATES)
    )
    assert dict(zip(FATES, seen, strict=True)) == {
        step: Seen(fate.silence, fate.phase, SILENCES[action], fate.is_body_sent, 1)
        for step, fate in FATES.items()
    }


@pytest.mark.parametrize("reply", REPLIES)
async def test_refusal_in_any_phase_means_what_the_phase_makes_of_it(
    reply: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    seen = await asyncio.gather(
        *(observe(step, reply, make_peer, make_provider, IN_TIME_S) for step in FATES)
    )
    expected = {}
    for step, fate in FATES.items():
        outcome = dict(zip(REPLIES, (fate.closing, fate.temporary, fate.permanent), strict=True))
        expected[step] = Seen(outcome[reply], fate.phase, reply, fate.is_body_sent, 1)
    assert dict(zip(FATES, seen, strict=True)) == expected


KEPT_STEPS: tuple[Step, ...] = ("reset", "mail", "rcpt", "data")


@pytest.mark.parametrize("action", [DROP, CLOSE, GARBAGE, OVERLONG, "421 4.4.2 idle too long"])
async def test_kept_connection_that_breaks_before_the_body_is_replaced(
    action: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    async def observe_second(step: Step) -> tuple[Outcome, int, int, int]:
        peer = await make_peer({})
        provider = make_provider(peer.port)
        await provider.send(make_email(), IN_TIME_S)
        peer.script[step] = [action]
        result = await provider.send(make_email(), IN_TIME_S)
        copies = peer.received.count(b"Subject:")
        return result.recipients[0].outcome, peer.connections, len(peer.bodies), copies

    seen = await asyncio.gather(*(observe_second(step) for step in KEPT_STEPS))
    assert dict(zip(KEPT_STEPS, seen, strict=True)) == dict.fromkeys(
        KEPT_STEPS, (Outcome.ACCEPTED, 2, 2, 2)
    )


@pytest.mark.parametrize("action", [DROP, CLOSE, GARBAGE, OVERLONG])
@pytest.mark.parametrize("step", ["body", "final"])
async def test_kept_connection_that_breaks_after_the_body_is_ambiguous_and_not_repeated(
    step: Step, action: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await provider.send(make_email(), IN_TIME_S)
    peer.script[step] = [action]
    result = await provider.send(make_email(), IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.AMBIGUOUS
    assert (peer.connections, peer.received.count(b"Subject:")) == (1, 2)
