"""Faults of a running SMTP sink, turned over HTTP and seen by a mail client."""

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage

import aiosmtplib
import pytest

from tallypost_simulators.smtp_knobs import smtp_board
from tallypost_simulators.smtp_sink import SMTPSink
from tests.support.fault_controls import Control, serve_control
from tests.support.smtp_peers import wait_until

IN_TIME_S = 10.0
MESSAGE = EmailMessage()
MESSAGE["From"], MESSAGE["To"], MESSAGE["Subject"] = "a@example.com", "b@example.org", "x"


class Controlled:
    """A sink, its control, and clients of both."""

    def __init__(self, sink: SMTPSink, control: Control) -> None:
        self.sink = sink
        self.turn = control.turn
        self.ask = control.ask

    def client(self) -> aiosmtplib.SMTP:
        """A mail client that is not connected yet."""
        return aiosmtplib.SMTP(
            hostname="127.0.0.1", port=self.sink.port, timeout=IN_TIME_S, start_tls=False
        )

    async def send(self) -> int:
        """Send one message on a connection of its own; the code of the last reply."""
        async with self.client() as client:
            try:
                await client.send_message(MESSAGE)
            except aiosmtplib.SMTPRecipientsRefused as refused:
                return refused.recipients[0].code
        return 250


@pytest.fixture
async def controlled() -> AsyncIterator[Controlled]:
    """A sink whose faults can be turned."""
    async with SMTPSink() as sink, serve_control(smtp_board(sink.faults)) as control:
        yield Controlled(sink, control)


async def test_a_sink_behaves_until_a_knob_is_turned(controlled: Controlled) -> None:
    status, knobs = await controlled.ask("GET")
    assert (status, knobs) == (200, {"latency_ms": 0, "knob": "none", "share": 1.0})
    assert await controlled.send() == 250


@pytest.mark.parametrize(("knob", "code"), [("4xx", 450), ("5xx", 550)])
async def test_a_refusal_is_seen_at_once_and_gone_at_once(
    controlled: Controlled, knob: str, code: int
) -> None:
    await controlled.turn(knob=knob)
    assert await controlled.send() == code
    assert controlled.sink.taken == 0
    await controlled.turn(knob="none")
    assert await controlled.send() == 250


async def test_a_share_of_recipients_is_refused_and_the_others_are_not(
    controlled: Controlled,
) -> None:
    await controlled.turn(knob="4xx", share=0.5)
    codes = [await controlled.send() for _ in range(40)]
    assert 5 < codes.count(450) < 35
    assert codes.count(250) == 40 - codes.count(450)


async def test_a_message_is_taken_and_the_connection_ends_before_the_reply(
    controlled: Controlled,
) -> None:
    await controlled.turn(knob="drop_reply")
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await controlled.send()
    assert controlled.sink.taken == 1
    await controlled.turn(knob="none")
    assert await controlled.send() == 250


async def test_whoever_is_kept_waiting_gets_the_reply_when_the_knob_is_turned(
    controlled: Controlled,
) -> None:
    await controlled.turn(knob="hang")
    sending = asyncio.create_task(controlled.send())
    await wait_until(lambda: controlled.sink.taken == 1)
    assert not sending.done()
    await controlled.turn(knob="none")
    assert await sending == 250
    assert controlled.sink.taken == 1


async def test_a_client_that_does_not_wait_leaves_no_session_behind(
    controlled: Controlled,
) -> None:
    await controlled.turn(knob="hang")
    client = controlled.client()
    await client.connect()
    sending = asyncio.create_task(client.send_message(MESSAGE))
    await wait_until(lambda: controlled.sink.taken == 1)
    client.close()
    await asyncio.gather(sending, return_exceptions=True)
    await wait_until(lambda: controlled.sink.open_sessions == 0)


async def test_latency_holds_replies_back(controlled: Controlled) -> None:
    await controlled.turn(latency_ms=2000)
    slow = asyncio.create_task(controlled.send())
    await wait_until(lambda: controlled.sink.open_sessions == 1)
    await controlled.turn()
    assert await controlled.send() == 250
    assert not slow.done()
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_nobody_turns_a_knob_without_the_token(controlled: Controlled, method: str) -> None:
    status, _ = await controlled.ask(method, {"knob": "5xx"}, token="other")
    assert status == 401
    assert await controlled.send() == 250


async def test_a_knob_that_does_not_exist_changes_nothing(controlled: Controlled) -> None:
    await controlled.turn(knob="4xx")
    status, problem = await controlled.ask("PUT", {"knob": "6xx"})
    assert (status, problem["field"]) == (422, "knob")
    assert await controlled.send() == 450
