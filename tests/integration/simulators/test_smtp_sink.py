"""The SMTP sink, spoken to over a socket as a mail client does."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tallypost_simulators.keeping import MessageRefused, OutcomeUnknown
from tallypost_simulators.smtp_faults import Fault, FaultAction, Faults, SinkPhase
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tests.support.smtp_peers import wait_until

IN_TIME_S = 10.0
SOURCE = shutil.which("smtp-source") or shutil.which("smtp-source", path="/usr/sbin")
ENVELOPE = ("MAIL FROM:<b@example.com>", "RCPT TO:<ada@example.net>")
CONTENT = b"X-Tallypost-Email-Id: id-1\r\n\r\nhello\r\n"


class Client:
    """A plain socket that sends bytes and reads whole replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """The next reply; its last line, since the others repeat the code."""
        while line := (await self.reader.readline()).decode("ascii"):
            if line[3:4] != "-":
                return line.removesuffix("\r\n")
        return ""

    async def say(self, *lines: str) -> str:
        """Send commands one by one; the reply to the last."""
        reply = ""
        for line in lines:
            self.writer.write(line.encode("utf-8") + b"\r\n")
            reply = await self.reply()
        return reply

    async def send(self, content: bytes, *envelope: str) -> str:
        """One message, already dot-stuffed; the reply to its end."""
        await self.say(*(envelope or ENVELOPE), "DATA")
        self.writer.write(content + b".\r\n")
        return await self.reply()


@asynccontextmanager
async def connected(sink: SMTPSink) -> AsyncIterator[Client]:
    """A client that has read the greeting, for as long as the block lasts."""
    async with asyncio.timeout(IN_TIME_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        try:
            client = Client(reader, writer)
            await client.reply()
            yield client
        finally:
            writer.transport.abort()


class Mailbox:
    """Keeps what the sink hands on."""

    def __init__(self) -> None:
        self.messages: list[ReceivedMessage] = []

    async def keep(self, message: ReceivedMessage) -> None:
        """The sink's callback."""
        self.messages.append(message)


async def test_message_is_kept_byte_by_byte_with_its_envelope() -> None:
    mailbox = Mailbox()
    content = b"Subject: hi\r\n\r\n..\r\n..x\r\nlone\nfeed\r\n\n.\n\r\n\x00\xff\r\n"
    async with SMTPSink(mailbox.keep) as sink, connected(sink) as client:
        reply = await client.send(content, *ENVELOPE, "RCPT TO:<eve@hidden.test>")
    assert reply.startswith("250 ")
    (message,) = mailbox.messages
    assert message.envelope_sender == "b@example.com"
    assert message.recipients == ("ada@example.net", "eve@hidden.test")
    assert message.body == b"Subject: hi\r\n\r\n.\r\n.x\r\nlone\nfeed\r\n\n.\n\r\n\x00\xff\r\n"
    assert message.received_at.utcoffset() is not None


async def test_empty_message_is_a_message() -> None:
    mailbox = Mailbox()
    async with SMTPSink(mailbox.keep) as sink, connected(sink) as client:
        assert (await client.send(b"")).startswith("250 ")
    assert [message.body for message in mailbox.messages] == [b""]


PIPELINED = (
    b"EHLO me\r\n"
    + b"MAIL FROM:<a@example.com>\r\nRCPT TO:<1@example.net>\r\nDATA\r\none\r\n.\r\n"
    + b"MAIL FROM:<> SIZE=5\r\nRCPT TO:<2@example.net>\r\nRSET\r\n"
    + b"MAIL FROM:<>\r\nRCPT TO:<3@example.net>\r\nDATA\r\n..two\r\n.\r\nQUIT\r\n"
)


@pytest.mark.parametrize("step", [1, 7, len(PIPELINED)])
@pytest.mark.parametrize("latency_s", [0.0, 0.001])
async def test_pipelined_commands_are_answered_in_order_however_they_arrive(
    step: int, latency_s: float
) -> None:
    mailbox = Mailbox()
    async with (
        SMTPSink(mailbox.keep, faults=Faults(latency_s=latency_s)) as sink,
        connected(sink) as client,
    ):
        for start in range(0, len(PIPELINED), step):
            client.writer.write(PIPELINED[start : start + step])
            await client.writer.drain()
            await asyncio.sleep(0)
        replies = (await client.reader.read()).decode("ascii").splitlines()
    codes = [reply[:3] for reply in replies if reply[3] == " "]
    expected = "250 250 250 354 250 250 250 250 250 250 354 250 221"
    assert codes == expected.split()
    assert [(message.recipients, message.body) for message in mailbox.messages] == [
        (("1@example.net",), b"one\r\n"),
        (("3@example.net",), b".two\r\n"),
    ]


async def test_message_is_handed_on_before_it_is_acknowledged() -> None:
    order: list[str] = []

    async def keep_slowly(message: ReceivedMessage) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        order.append("kept")

    async with SMTPSink(keep_slowly) as sink, connected(sink) as client:
        await client.send(CONTENT)
        order.append("acknowledged")
    assert order == ["kept", "acknowledged"]


async def test_message_that_could_not_be_kept_is_not_acknowledged() -> None:
    failures = iter([ValueError("full"), None])

    async def keep_second(message: ReceivedMessage) -> None:
        if failure := next(failures):
            raise failure

    async with SMTPSink(keep_second) as sink, connected(sink) as client:
        assert (await client.send(CONTENT)).startswith("451 ")
        assert sink.taken == 0
        assert (await client.send(CONTENT)).startswith("250 ")
        assert sink.taken == 1


async def test_message_that_will_never_be_kept_is_refused_for_good() -> None:
    async def refuse(message: ReceivedMessage) -> None:
        raise MessageRefused("not here")

    async with SMTPSink(refuse) as sink, connected(sink) as client:
        assert await client.send(CONTENT) == "554 5.6.0 not here"
        # The dialogue goes on.
        assert await client.send(CONTENT) == "554 5.6.0 not here"
        assert sink.taken == 0


async def test_message_of_unknown_fate_gets_no_reply() -> None:
    async def lose(message: ReceivedMessage) -> None:
        raise OutcomeUnknown

    async with SMTPSink(lose) as sink:
        async with connected(sink) as client:
            assert await client.send(CONTENT) == ""
            assert await client.reader.read() == b""
        await wait_until(lambda: sink.open_sessions == 0)
        assert sink.taken == 0


async def test_client_that_vanishes_does_not_undo_the_keeping() -> None:
    mailbox = Mailbox()
    has_begun, may_go_on = asyncio.Event(), asyncio.Event()

    async def keep_when_told(message: ReceivedMessage) -> None:
        has_begun.set()
        await may_go_on.wait()
        await mailbox.keep(message)

    async with SMTPSink(keep_when_told) as sink:
        async with connected(sink) as client:
            await client.say(*ENVELOPE, "DATA")
            client.writer.write(CONTENT + b".\r\n")
            await has_begun.wait()
        may_go_on.set()
        await wait_until(lambda: bool(mailbox.messages) and sink.open_sessions == 0)
    assert sink.taken == 1


class SlowMailbox(Mailbox):
    """Says when it has begun to keep a message, and waits until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def keep(self, message: ReceivedMessage) -> None:
        self.has_begun.set()
        await self.may_go_on.wait()
        await super().keep(message)


class ReplacedAtOnce(Faults):
    """A fault is no sooner taken than somebody turns the knob back."""

    def take(self, phase: SinkPhase, text: str = "") -> Fault | None:
        fault = super().take(phase, text)
        if fault is not None:
            asyncio.get_running_loop().call_soon(self.replace)
        return fault


async def test_hang_that_was_released_while_the_message_was_kept_is_over() -> None:
    mailbox, faults = SlowMailbox(), Faults(Fault(phase="final", action="hang"))
    async with SMTPSink(mailbox.keep, faults=faults) as sink, connected(sink) as client:
        sending = asyncio.create_task(client.send(CONTENT))
        await mailbox.has_begun.wait()
        faults.replace()
        mailbox.may_go_on.set()
        assert await sending == "250 2.0.0 ok: queued as 1"


@pytest.mark.parametrize("phase", ["mail", "final"])
async def test_hang_that_was_released_in_the_same_breath_is_over(phase: SinkPhase) -> None:
    faults = ReplacedAtOnce(Fault(phase=phase, action="hang"))
    async with SMTPSink(faults=faults) as sink, connected(sink) as client:
        assert await client.send(CONTENT) == "250 2.0.0 ok: queued as 1"


@pytest.mark.parametrize(
    "faults",
    [
        Faults(Fault(phase="final", action="hang")),
        Faults(Fault(phase="final", action="drip", drip_s=600)),
    ],
    ids=["hang", "drip"],
)
async def test_client_that_leaves_while_its_message_is_kept_leaves_no_session(
    faults: Faults,
) -> None:
    mailbox = SlowMailbox()
    async with SMTPSink(mailbox.keep, faults=faults) as sink:
        async with connected(sink) as client:
            await client.say(*ENVELOPE, "DATA")
            client.writer.write(CONTENT + b".\r\n")
            await mailbox.has_begun.wait()
        # By the time that another client is served, the sink knows that this one is gone.
        async with connected(sink) as other:
            await other.say("NOOP")
        mailbox.may_go_on.set()
        await wait_until(lambda: sink.taken == 1 and sink.open_sessions == 0)


async def test_counting_keeps_one_number_for_each_email_and_recipient() -> None:
    async with SMTPSink(is_counting=True) as sink, connected(sink) as client:
        await client.send(CONTENT)
        await client.send(CONTENT, *ENVELOPE, "RCPT TO:<bob@example.net>")
        await client.send(b"Subject: none\r\n\r\nX-Tallypost-Email-Id: in the body\r\n")
    assert sink.counts == {
        ("id-1", "ada@example.net"): 2,
        ("id-1", "bob@example.net"): 1,
        ("", "ada@example.net"): 1,
    }


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("RCPT TO:<a@example.net>",), "503"),
        (("DATA",), "503"),
        (("MAIL FROM:<a@example.com>", "DATA"), "554"),
        (("MAIL FROM:<a@example.com>", "MAIL FROM:<a@example.com>"), "503"),
        (("MAIL FROM:<a@example.com>", "RSET", "RCPT TO:<a@example.net>"), "503"),
        (("MAIL a@example.com",), "501"),
        (("MAIL FROM:<a@example.com>", "RCPT a@example.net"), "501"),
        (("VRFY ada",), "502"),
        (("",), "502"),
        (("NOOP",), "250"),
        (("HELO me",), "250"),
        (("mail from: <ü@example.com> SMTPUTF8",), "250"),
        (("MAIL FROM:<a@example.com> SIZE=1001",), "552"),
        (("MAIL FROM:<a@example.com> SIZE=1000",), "250"),
        (("x" * 5000,), "421"),
    ],
)
async def test_command_gets_the_reply_of_the_standard(lines: tuple[str, ...], code: str) -> None:
    async with SMTPSink(max_size_bytes=1000) as sink, connected(sink) as client:
        assert (await client.say(*lines))[:3] == code


async def test_message_that_grows_too_big_is_refused_while_it_comes() -> None:
    async with SMTPSink(max_size_bytes=1000) as sink, connected(sink) as client:
        await client.say(*ENVELOPE, "DATA")
        client.writer.write(b"x" * 5000)
        assert (await client.reply()).startswith("552 ")
        assert await client.reader.read() == b""
    assert sink.taken == 0


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "final"])
async def test_scripted_refusal_happens_as_often_as_told(phase: SinkPhase) -> None:
    faults = Faults(Fault(phase=phase, reply="452 4.3.1 no room", times=2))
    async with SMTPSink(faults=faults) as sink, connected(sink) as client:
        replies = []
        for _ in range(3):
            await client.say("RSET")
            for command in (*ENVELOPE, "DATA"):
                if (reply := await client.say(command))[0] == "4":
                    break
            else:
                client.writer.write(CONTENT + b".\r\n")
                reply = await client.reply()
            replies.append(reply[:3])
    assert replies == ["452", "452", "250"]
    assert sink.taken == 1


async def test_greeting_and_hello_can_be_refused() -> None:
    faults = Faults(Fault(phase="hello", reply="502 5.5.1 no", times=1))
    async with SMTPSink(faults=faults) as sink:
        async with connected(sink) as client:
            assert await client.say("EHLO me") == "502 5.5.1 no"
        faults.active.append(Fault(phase="connect", reply="421 4.3.2 closing"))
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        assert await reader.read() == b"421 4.3.2 closing\r\n"
        writer.close()


async def test_recipients_that_match_the_pattern_are_refused_and_no_others() -> None:
    fault = Fault(phase="rcpt", pattern=r"^gone@", reply="550 5.1.1 no such user")
    async with SMTPSink(faults=Faults(fault)) as sink, connected(sink) as client:
        assert await client.say("MAIL FROM:<>", "RCPT TO:<gone@example.net>") == fault.reply
        assert (await client.say("RCPT TO:<ada@example.net>")).startswith("250 ")


@pytest.mark.parametrize(
    ("phase", "action", "taken"),
    [("body", "drop", 0), ("final", "drop", 1), ("body", "reply", 0)],
)
async def test_connection_that_ends_around_the_body_has_or_has_not_taken_the_message(
    phase: SinkPhase, action: FaultAction, taken: int
) -> None:
    mailbox = Mailbox()
    faults = Faults(Fault(phase=phase, action=action))
    async with SMTPSink(mailbox.keep, faults=faults) as sink, connected(sink) as client:
        reply = await client.send(CONTENT)
        assert reply == (Fault(phase=phase).reply if action == "reply" else "")
        assert await client.reader.read() == b""
    assert len(mailbox.messages) == sink.taken == taken


@pytest.mark.parametrize("phase", ["connect", "hello", "mail", "rcpt", "data", "body", "final"])
async def test_sink_that_hangs_can_still_be_stopped(phase: SinkPhase) -> None:
    faults = Faults(Fault(phase=phase, action="hang", times=1))
    expected = int(phase == "final")
    async with SMTPSink(faults=faults) as sink:
        _, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        writer.write(b"EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nDATA\r\nx\r\n.\r\n")
        await wait_until(lambda: faults.active[0].times == 0 and sink.taken == expected)
        assert sink.open_sessions == 1
    assert sink.open_sessions == 0
    assert sink.taken == expected
    writer.transport.abort()


async def test_dripped_reply_arrives_whole_in_the_end() -> None:
    faults = Faults(Fault(phase="final", action="drip", drip_s=0.001, times=1))
    async with SMTPSink(faults=faults) as sink, connected(sink) as client:
        assert await client.send(CONTENT) == "250 2.0.0 ok: queued as 1"
        assert await client.send(CONTENT) == "250 2.0.0 ok: queued as 2"


def test_probable_faults_are_the_same_for_the_same_seed() -> None:
    def draw(seed: int) -> list[bool]:
        faults = Faults(Fault(phase="mail", probability=0.5), seed=seed)
        return [faults.take("mail") is not None for _ in range(200)]

    assert draw(1) == draw(1) != draw(2)
    assert 50 < sum(draw(1)) < 150


async def test_several_clients_are_served_at_once() -> None:
    mailbox = Mailbox()

    async def send_some(sink: SMTPSink) -> None:
        async with connected(sink) as client:
            for _ in range(5):
                assert (await client.send(CONTENT)).startswith("250 ")

    async with SMTPSink(mailbox.keep) as sink:
        await asyncio.gather(*(send_some(sink) for _ in range(10)))
    assert len(mailbox.messages) == 50


async def test_port_of_a_sink_that_does_not_run_is_an_error() -> None:
    sink = SMTPSink()
    with pytest.raises(RuntimeError):
        _ = sink.port
    await sink.stop()


@pytest.mark.skipif(SOURCE is None, reason="smtp-source is not installed (apt-get install postfix)")
async def test_postfix_source_hands_over_every_message_once() -> None:
    mailbox = Mailbox()
    async with SMTPSink(mailbox.keep, is_counting=True) as sink:
        process = await asyncio.create_subprocess_exec(
            str(SOURCE), "-d", "-s", "5", "-m", "300", "-l", "20000", f"127.0.0.1:{sink.port}"
        )
        async with asyncio.timeout(IN_TIME_S):
            assert await process.wait() == 0
    assert len(mailbox.messages) == sum(sink.counts.values()) == 300
