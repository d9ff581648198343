"""Kept SMTP connections: reuse, replacement of dead ones, and time kept for the reply."""

import asyncio

import pytest

from tallypost_core.clock import monotonic_s
from tallypost_providers import smtp_deadlines, smtp_handover
from tallypost_providers.types import Outcome, SendResult
from tallypost_simulators.smtp_faults import Fault, Faults, SinkPhase
from tallypost_simulators.smtp_sink import SMTPSink
from tests.contract.providers.conftest import MakePeer, MakeProvider
from tests.support.smtp_peers import wait_until
from tests.support.smtp_scripts import DROP, HANG, Step
from tests.unit.providers.emails import make_email, make_recipient

IN_TIME_S = 10.0
SHORT_S = 1.0


def outcome(result: SendResult) -> Outcome:
    (entry,) = result.recipients
    return entry.outcome


async def test_one_connection_carries_one_email_after_the_other(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    results = [await provider.send(make_email(), IN_TIME_S) for _ in range(3)]
    assert [outcome(result) for result in results] == [Outcome.ACCEPTED] * 3
    assert [result.evidence["connection"] for result in results] == ["new", "kept", "kept"]
    assert (peer.connections, len(peer.bodies)) == (1, 3)
    assert peer.steps.count("reset") == 2


async def test_connection_closed_while_idle_is_replaced_within_the_call(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await provider.send(make_email(), IN_TIME_S)
    peer.drop_all()
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.ACCEPTED
    assert (peer.connections, len(peer.bodies)) == (2, 2)


async def test_replacement_that_fails_as_well_is_not_replaced_again(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await provider.send(make_email(), IN_TIME_S)
    peer.script["mail"] = DROP
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.UNAVAILABLE
    assert peer.connections == 2


async def test_new_connection_that_fails_is_not_replaced(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"mail": DROP})
    assert outcome(await make_provider(peer.port).send(make_email(), IN_TIME_S)) is (
        Outcome.UNAVAILABLE
    )
    assert peer.connections == 1


async def test_kept_connection_that_went_silent_is_given_up_soon(
    make_peer: MakePeer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_handover, "_RESET_LIMIT_S", 0.05)
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await provider.send(make_email(), IN_TIME_S)
    peer.script["reset"] = [HANG]
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.ACCEPTED
    assert peer.connections == 2


async def test_refusal_keeps_the_connection(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    outcomes = []
    refusals: list[tuple[Step, str]] = [
        ("mail", "451 4.3.0 later"),
        ("rcpt", "550 5.1.1 no"),
        ("data", "554 5.5.1 no"),
        ("final", "554 5.7.1 spam"),
    ]
    for step, refusal in refusals:
        peer.script = {step: refusal}
        outcomes.append(outcome(await provider.send(make_email(), IN_TIME_S)))
    peer.script = {}
    outcomes.append(outcome(await provider.send(make_email(), IN_TIME_S)))
    assert outcomes == [
        Outcome.UNAVAILABLE,
        Outcome.REJECTED,
        Outcome.REJECTED,
        Outcome.REJECTED,
        Outcome.ACCEPTED,
    ]
    assert peer.connections == 1


async def test_peer_that_stalls_after_it_refused_costs_its_connection_and_not_its_word(
    make_peer_offering: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer_offering({"mail": "550 5.7.1 no", "rcpt": HANG})
    result = await make_provider(peer.port).send(make_email(), IN_TIME_S)
    assert (outcome(result), result.phase) == (Outcome.SUSPENDED, "mail")
    await wait_until(lambda: peer.open_connections == 0)


async def test_words_on_an_idle_connection_end_its_use(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await provider.send(make_email(), IN_TIME_S)
    peer.say_to_all(b"250 2.0.0 ok\r\n")
    await wait_until(lambda: peer.open_connections == 0)
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.ACCEPTED
    assert (peer.connections, len(peer.bodies)) == (2, 2)


@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "final"])
async def test_connection_is_given_up_after_421_though_the_peer_leaves_it_open(
    step: Step, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({step: "421 4.3.2 closing"})
    peer.hangs_up_after_421 = False
    result = await make_provider(peer.port).send(make_email(), IN_TIME_S)
    assert outcome(result) is Outcome.UNAVAILABLE
    await wait_until(lambda: peer.open_connections == 0)


@pytest.mark.parametrize("step", ["mail", "rcpt"])
async def test_reply_that_makes_no_sense_where_it_came_ends_the_connection(
    step: Step, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({step: ["354 go ahead"]})
    recipients = (make_recipient("ada@example.net"), make_recipient("bob@example.net"))
    result = await make_provider(peer.port).send(make_email(recipients=recipients), IN_TIME_S)
    assert {entry.outcome for entry in result.recipients} == {Outcome.UNAVAILABLE}
    assert result.phase == step
    assert b"Subject:" not in peer.received
    await wait_until(lambda: peer.open_connections == 0)


async def test_one_reply_too_many_ends_the_connection_before_the_body(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"data": ["354 go ahead\r\n250 2.0.0 queued already"]})
    result = await make_provider(peer.port).send(make_email(), IN_TIME_S)
    assert (outcome(result), result.phase) == (Outcome.UNAVAILABLE, "data")
    assert b"Subject:" not in peer.received


async def test_connection_whose_replies_are_out_of_step_is_not_used_again(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"data": ["250 2.0.0 ok"]})
    provider = make_provider(peer.port)
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.UNAVAILABLE
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.ACCEPTED
    assert (peer.connections, len(peer.bodies)) == (2, 1)


async def test_connection_in_an_unknown_state_is_hung_up_at_once(
    make_provider: MakeProvider,
) -> None:
    async def hang_up(phase: SinkPhase) -> None:
        fault = Fault(phase=phase, action="hang", times=2)
        async with SMTPSink(faults=Faults(fault)) as sink:
            provider = make_provider(sink.port)
            # Once the time is over, and once the call is cancelled.
            await provider.send(make_email(), SHORT_S)
            await wait_until(lambda: sink.open_sessions == 0)
            call = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
            await wait_until(lambda: fault.times == 0)
            call.cancel()
            await wait_until(lambda: sink.open_sessions == 0)
            assert call.cancelled()

    phases: tuple[SinkPhase, ...] = ("connect", "hello", "mail", "rcpt", "data", "body", "final")
    await asyncio.gather(*(hang_up(phase) for phase in phases))


async def test_body_is_not_begun_when_too_little_time_is_left_for_the_reply(
    make_provider: MakeProvider,
) -> None:
    # Five replies before the body take 0.5 s, and two thirds of 0.6 s are 0.4 s.
    async with SMTPSink(faults=Faults(latency_s=0.1)) as sink:
        result = await make_provider(sink.port).send(make_email(), 0.6)
        assert outcome(result) is Outcome.UNAVAILABLE
        assert sink.taken == 0


async def test_body_is_not_begun_where_the_time_ran_out_as_the_peer_asked_for_it(
    make_peer: MakePeer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await provider.send(make_email(), IN_TIME_S)
    asked_before = peer.steps.count("data")

    def jump() -> float:
        """An hour passes as the peer says 354."""
        return monotonic_s() + (3600.0 if peer.steps.count("data") > asked_before else 0.0)

    monkeypatch.setattr(smtp_deadlines, "monotonic_s", jump)
    result = await provider.send(make_email(), IN_TIME_S)
    assert outcome(result) is Outcome.UNAVAILABLE
    # The peer waits for a body, so that nothing else may follow on this connection.
    await wait_until(lambda: peer.open_connections == 0)
    assert peer.received.count(b"Subject:") == 1


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("jürgen@example.net", "5.6.7"),
        ("jürgen smith@example.net", "5.1.3"),
        ("j\u2028@example.net", "5.1.3"),
        ("a@example.net> SIZE=1", "5.1.3"),
        ('"a b"@example.net', "5.1.3"),
        ("a@example.net\r\nRSET", "5.1.3"),
        ("nowhere", "5.1.3"),
    ],
)
async def test_address_that_no_envelope_can_hold_is_refused_without_being_sent(
    address: str, code: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    recipients = (make_recipient(address), make_recipient("bob@example.net"))
    result = await make_provider(peer.port).send(make_email(recipients=recipients), IN_TIME_S)
    first, second = result.recipients
    assert (first.outcome, first.enhanced_code) == (Outcome.REJECTED, code)
    assert second.outcome is Outcome.ACCEPTED
    assert peer.steps.count("rcpt") == 1


async def test_bounces_may_be_declined_with_an_empty_envelope_sender(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    result = await make_provider(peer.port).send(make_email(envelope_sender=""), IN_TIME_S)
    assert outcome(result) is Outcome.ACCEPTED
