"""The pool of SMTP connections: how many there are, who gets one, and when they end."""

import asyncio

import pytest

from tallypost_core.clock import monotonic_s
from tallypost_providers import smtp_pool
from tallypost_providers.errors import EmailNotBuildable, ProviderBusy
from tallypost_providers.types import Outcome, SendResult
from tallypost_simulators.smtp_faults import Fault, Faults
from tallypost_simulators.smtp_sink import SMTPSink
from tests.contract.providers.conftest import MakePeer, MakeProvider
from tests.support.smtp_peers import wait_until
from tests.support.smtp_scripts import HANG
from tests.unit.providers.emails import make_email, make_recipient

IN_TIME_S = 10.0
SHORT_S = 1.0
UNBUILDABLE = make_email(subject="a\r\nBcc: eve@hidden.test")


def outcome(result: SendResult) -> Outcome:
    (entry,) = result.recipients
    return entry.outcome


async def cancel(call: "asyncio.Task[SendResult]") -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_no_more_connections_than_the_settings_allow(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port, connections=3)
    results = await asyncio.gather(*(provider.send(make_email(), IN_TIME_S) for _ in range(30)))
    assert {outcome(result) for result in results} == {Outcome.ACCEPTED}
    assert (peer.connections, len(peer.bodies)) == (3, 30)


async def test_places_go_to_those_who_wait_in_the_order_of_asking(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port, connections=1)
    emails = [make_email(subject=f"Number {number:02}") for number in range(12)]
    await asyncio.gather(*(provider.send(email, IN_TIME_S) for email in emails))
    arrived = [body.partition(b"Subject: ")[2][:9].decode("ascii") for body in peer.bodies]
    assert arrived == [email.subject for email in emails]


async def test_connection_given_back_last_is_taken_first(
    make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Slow enough that two emails need two connections.
    async with SMTPSink(faults=Faults(latency_s=0.05)) as sink:
        provider = make_provider(sink.port)
        await asyncio.gather(*(provider.send(make_email(), IN_TIME_S) for _ in range(2)))
        assert sink.open_sessions == 2
        started_s = monotonic_s()
        for step in range(1, 8):
            # One of the two is used again and again; the other is idle for longer each time.
            later_s = started_s + step * smtp_pool.MAX_IDLE_S / 4
            monkeypatch.setattr(smtp_pool, "monotonic_s", lambda later_s=later_s: later_s)
            result = await provider.send(make_email(), IN_TIME_S)
            assert result.evidence["connection"] == "kept"
        await wait_until(lambda: sink.open_sessions == 1)


async def test_idle_connection_is_closed_while_no_mail_flows(
    make_peer: MakePeer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_pool, "MAX_IDLE_S", 0.1)
    peer = await make_peer({})
    provider = make_provider(peer.port)
    await asyncio.gather(*(provider.send(make_email(), IN_TIME_S) for _ in range(2)))
    await wait_until(lambda: peer.open_connections == 0)


async def test_waiting_for_a_free_connection_ends_with_a_third_of_the_time(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"mail": HANG})
    provider = make_provider(peer.port, connections=1)
    holder = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
    await wait_until(lambda: "mail" in peer.steps)
    started_s = monotonic_s()
    with pytest.raises(ProviderBusy):
        await provider.send(make_email(), SHORT_S)
    # A third of a second, and as much again for a machine that is busy.
    assert SHORT_S / 4 < monotonic_s() - started_s < SHORT_S * 2 / 3
    await cancel(holder)
    assert peer.connections == 1


async def test_place_given_at_the_end_of_the_wait_leaves_time_for_the_email(
    make_provider: MakeProvider,
) -> None:
    # One second to wait, one for the dialogue, which takes half of it, and one for the answer.
    timeout_s = 3.0
    first_hangs = Fault(phase="final", action="hang", times=1)
    async with SMTPSink(faults=Faults(first_hangs, latency_s=0.1)) as sink:
        provider = make_provider(sink.port, connections=1)
        holder = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
        await wait_until(lambda: first_hangs.times == 0)
        started_s = monotonic_s()
        waiting = asyncio.create_task(provider.send(make_email(), timeout_s))
        await asyncio.sleep(0.8)
        assert not waiting.done()
        await cancel(holder)
        assert outcome(await waiting) is Outcome.ACCEPTED
        assert monotonic_s() - started_s < timeout_s


async def test_email_that_gets_no_place_is_not_built(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({"mail": HANG})
    provider = make_provider(peer.port, connections=1)
    holder = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
    await wait_until(lambda: "mail" in peer.steps)
    # Had it been built, that would have failed.
    with pytest.raises(ProviderBusy):
        await provider.send(UNBUILDABLE, SHORT_S)
    await cancel(holder)
    await provider.close()
    with pytest.raises(ProviderBusy):
        await provider.send(UNBUILDABLE, SHORT_S)


async def test_email_that_cannot_be_built_meets_no_peer_and_gives_its_place_back(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port, connections=1)
    for _ in range(3):
        with pytest.raises(EmailNotBuildable):
            await provider.send(UNBUILDABLE, SHORT_S)
    assert peer.connections == 0
    assert outcome(await provider.send(make_email(), IN_TIME_S)) is Outcome.ACCEPTED


async def test_email_whose_recipients_are_all_unusable_needs_no_connection(
    make_peer: MakePeer, make_provider: MakeProvider
) -> None:
    peer = await make_peer({})
    provider = make_provider(peer.port)
    email = make_email(recipients=(make_recipient("nowhere"), make_recipient("a b@example.net")))
    result = await provider.send(email, IN_TIME_S)
    assert [entry.outcome for entry in result.recipients] == [Outcome.REJECTED] * 2
    assert peer.connections == 0


async def test_closing_refuses_whoever_waits_and_lets_the_others_finish(
    make_provider: MakeProvider,
) -> None:
    async with SMTPSink(faults=Faults(latency_s=0.05)) as sink:
        provider = make_provider(sink.port, connections=1)
        holder = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
        await wait_until(lambda: sink.open_sessions == 1)
        waiting = asyncio.create_task(provider.send(make_email(), IN_TIME_S))
        await asyncio.sleep(0)
        await provider.close()
        for refused in (waiting, provider.send(make_email(), IN_TIME_S)):
            with pytest.raises(ProviderBusy):
                await refused
        assert outcome(await holder) is Outcome.ACCEPTED
        await wait_until(lambda: sink.open_sessions == 0)


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


async def test_sessions_that_say_goodbye_count_as_open(
    make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each session is too old for a second email, and its goodbye takes as long as an email.
    monkeypatch.setattr(smtp_pool, "MAX_AGE_S", 0.0)
    async with SMTPSink(faults=Faults(latency_s=0.01)) as sink:
        provider = make_provider(sink.port, connections=3)
        sending = [asyncio.create_task(provider.send(make_email(), IN_TIME_S)) for _ in range(20)]
        most = 0
        while not all(send.done() for send in sending):
            most = max(most, sink.open_sessions)
            await asyncio.sleep(0.001)
        assert {outcome(send.result()) for send in sending} == {Outcome.ACCEPTED}
        assert {send.result().evidence["connection"] for send in sending} == {"new"}
    assert most == 3
