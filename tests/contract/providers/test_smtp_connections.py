"""Kept SMTP connections: reuse, limits, replacement of dead ones, and time kept for the reply."""

import asyncio

import pytest

from tallypost_core.clock import monotonic_s
from tallypost_providers import smtp_connection, smtp_pool
from tallypost_providers.types import Outcome, SendResult
from tallypost_simulators.smtp_faults import Fault, Faults, SinkPhase
from tallypost_simulators.smtp_sink import SMTPSink
from tests.contract.providers.conftest import MakePeer, MakeProvider
from tests.support.smtp_peers import DROP, HANG, Step, wait_until
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


@pytest.mark.parametrize("step", ["reset", "mail", "rcpt", "data"])
@pytest.mark.parametrize("end", [DROP, "421 4.4.2 idle too long"])
async def test_kept_connection_that_dies_before_the_body_is_replaced_once(
    step: Step, end: str, make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await provider.send(make_email(), IN_TIME_S)
    peer.script[step] = [end]
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


async def test_kept_connection_that_dies_after_the_body_is_ambiguous_and_not_repeated(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await provider.send(make_email(), IN_TIME_S)
    peer.script["final"] = [DROP]
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.AMBIGUOUS
    assert (peer.connections, len(peer.bodies)) == (1, 2)


async def test_kept_connection_that_went_silent_is_given_up_soon(
    make_peer: MakePeer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_connection, "_RESET_LIMIT_S", 0.05)
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await provider.send(make_email(), IN_TIME_S)
    peer.script["reset"] = [HANG]
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.ACCEPTED
    assert peer.connections == 2


async def test_refusal_keeps_the_connection(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"rcpt": ["550 5.1.1 no"], "mail": ["451 4.3.0 later"]})
    peer.script["final"] = ["554 5.7.1 spam"]
    provider = make_provider(peer.port)
    outcomes = [outcome(await provider.send(make_email(), IN_TIME_S)) for _ in range(4)]
    assert outcomes == [
        Outcome.UNAVAILABLE,
        Outcome.REJECTED,
        Outcome.REJECTED,
        Outcome.ACCEPTED,
    ]
    assert peer.connections == 1


async def test_connection_whose_replies_are_out_of_step_is_not_used_again(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"data": ["250 2.0.0 ok"]})
    provider = make_provider(peer.port)
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.UNAVAILABLE
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.ACCEPTED
    assert (peer.connections, len(peer.bodies)) == (2, 1)


async def test_message_is_not_announced_where_every_recipient_was_refused(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"rcpt": "550 5.1.1 no"})
    result = await make_provider(peer.port).send(make_email(), IN_TIME_S)
    assert (outcome(result), result.phase) == (Outcome.REJECTED, "rcpt")
    assert "data" not in peer.steps


async def test_no_more_connections_than_the_settings_allow(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port, connections=3)
    results = await asyncio.gather(*(provider.send(make_email(), IN_TIME_S) for _ in range(30)))
    assert {outcome(result) for result in results} == {Outcome.ACCEPTED}
    assert (peer.connections, len(peer.bodies)) == (3, 30)


async def test_waiting_for_a_free_connection_ends_with_the_deadline(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"mail": HANG})
    provider = make_provider(peer.port, connections=1)
    holder = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
    await wait_until(lambda: "mail" in peer.steps)
    result = await provider.send(make_email(), SHORT_S)
    assert (outcome(result), result.phase) == (Outcome.UNAVAILABLE, "connect")
    assert result.recipients[0].detail == "no connection became free in time"
    holder.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder


async def test_cancelled_handovers_give_their_places_back(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"rcpt": [HANG, HANG]})
    provider = make_provider(peer.port, connections=2)
    calls = [asyncio.create_task(provider.send(make_email(), IN_TIME_S)) for _ in range(2)]
    await wait_until(lambda: peer.steps.count("rcpt") == 2)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    results = await asyncio.gather(*(provider.send(make_email(), IN_TIME_S) for _ in range(2)))
    assert [outcome(result) for result in results] == [Outcome.ACCEPTED] * 2
    assert peer.connections == 4


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "final"])
async def test_connection_in_an_unknown_state_is_hung_up_at_once(
    phase: SinkPhase, make_provider: MakeProvider
) -> None:
    fault = Fault(phase=phase, action="hang", times=2)
    async with SMTPSink(faults=Faults(fault)) as sink:
        provider = make_provider(sink.port)
        await provider.send(make_email(), SHORT_S)
        await wait_until(lambda: sink.open_sessions == 0)
        call = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
        await wait_until(lambda: fault.times == 0)
        call.cancel()
        await wait_until(lambda: sink.open_sessions == 0)
        assert call.cancelled()


@pytest.mark.parametrize("age_s", [smtp_pool.MAX_IDLE_S + 1, smtp_pool.MAX_AGE_S + 1])
async def test_connection_that_is_too_old_is_left_for_a_new_one(
    age_s: float,
    make_peer: MakePeer,
    make_provider: MakeProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await provider.send(make_email(), IN_TIME_S)
    monkeypatch.setattr(smtp_pool, "monotonic_s", lambda: monotonic_s() + age_s)
    result = await provider.send(make_email(), IN_TIME_S)
    assert result.evidence["connection"] == "new"
    assert peer.connections == 2
    await wait_until(lambda: peer.open_connections == 1)


async def test_closing_takes_leave_of_idle_connections(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await asyncio.gather(*(provider.send(make_email(), IN_TIME_S) for _ in range(2)))
    await provider.close()
    await wait_until(lambda: peer.open_connections == 0)


async def test_body_is_not_begun_when_too_little_time_is_left_for_the_reply(
    make_provider: MakeProvider,
) -> None:
    # Five replies before the body take 0.5 s, and two thirds of 0.6 s are 0.4 s.
    async with SMTPSink(faults=Faults(latency_s=0.1)) as sink:
        result = await make_provider(sink.port).send(make_email(), 0.6)
        assert outcome(result) is Outcome.UNAVAILABLE
        assert sink.taken == 0


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("jürgen@example.net", "5.6.7"),
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
