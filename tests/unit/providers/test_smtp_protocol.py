"""The wire of an SMTP session over a pair of sockets, where the order of events is certain."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import pytest

from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped, Silence
from tallypost_providers.smtp_protocol import SMTPProtocol

IN_TIME_S = 10.0


class Wire:
    """A protocol under test and the socket of its peer."""

    def __init__(self, protocol: SMTPProtocol, peer: socket.socket) -> None:
        self.protocol = protocol
        self.peer = peer

    async def hear(self, words: bytes) -> None:
        """The peer says something, and the protocol has it before anything else happens."""
        arrived = asyncio.Event()
        take = self.protocol.data_received

        def note(data: bytes) -> None:
            take(data)
            arrived.set()

        self.protocol.data_received = note  # type: ignore[method-assign]  # To see it arrive.
        self.peer.sendall(words)
        async with asyncio.timeout(IN_TIME_S):
            await arrived.wait()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A connection on which the peer has said nothing yet."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    _, protocol = await loop.create_connection(lambda: SMTPProtocol(loop), sock=ours)
    with theirs:
        yield Wire(protocol, theirs)
        protocol.abort()


def stopped_at(phase: str, silence: Silence) -> Callable[[HandoverStopped], bool]:
    return lambda stop: (stop.phase, stop.signal) == (phase, silence)


@pytest.mark.parametrize("words", [b"220 hello\r\n", b"22"])
async def test_words_in_plain_text_before_tls_from_the_first_byte_are_not_believed(
    wire: Wire, words: bytes
) -> None:
    await wire.hear(words)
    with pytest.raises(HandoverStopped, check=stopped_at("tls", Silence.GARBAGE)):
        await wire.protocol.start_tls(ssl.create_default_context(), "localhost", Budget(IN_TIME_S))


async def test_replies_are_handed_out_before_the_end_is_told(wire: Wire) -> None:
    await wire.hear(b"220 hello\r\n")
    assert (await wire.protocol.reply("connect", Budget(IN_TIME_S))).text == "hello"
    wire.protocol.send("mail", b"MAIL\r\nRCPT\r\nDATA\r\n", 3)
    assert await asyncio.to_thread(wire.peer.recv, 100) == b"MAIL\r\nRCPT\r\nDATA\r\n"
    wire.peer.sendall(b"250 one\r\n550 two\r\n")
    wire.peer.close()
    texts = [(await wire.protocol.reply("rcpt", Budget(IN_TIME_S))).text for _ in range(2)]
    assert texts == ["one", "two"]
    with pytest.raises(HandoverStopped, check=stopped_at("data", Silence.RESET)):
        await wire.protocol.reply("data", Budget(IN_TIME_S))


async def test_body_is_not_begun_on_a_connection_that_has_ended(wire: Wire) -> None:
    await wire.hear(b"220 hello\r\n")
    await wire.protocol.reply("connect", Budget(IN_TIME_S))
    wire.protocol.send("data", b"DATA\r\n", 1)
    wire.peer.sendall(b"354 go ahead\r\n")
    wire.peer.shutdown(socket.SHUT_WR)
    await wire.protocol.reply("data", Budget(IN_TIME_S))
    async with asyncio.timeout(IN_TIME_S):
        while True:
            # Until the end of the stream has arrived as well.
            try:
                wire.protocol.send("data", b"", 0)
            except HandoverStopped:
                break
            await asyncio.sleep(0)
    with pytest.raises(HandoverStopped, check=stopped_at("data", Silence.RESET)):
        await wire.protocol.send_body(b"Subject: hi\r\n.\r\n", Budget(IN_TIME_S))
    assert wire.peer.recv(100) == b"DATA\r\n"


async def test_body_that_never_left_is_not_in_doubt(wire: Wire) -> None:
    await wire.hear(b"220 hello\r\n")
    await wire.protocol.reply("connect", Budget(IN_TIME_S))
    wire.protocol.send("data", b"DATA\r\n", 1)
    await wire.hear(b"354 go ahead\r\n")
    await wire.protocol.reply("data", Budget(IN_TIME_S))
    sending = asyncio.create_task(
        wire.protocol.send_body(b"Subject: hi\r\n.\r\n", Budget(IN_TIME_S))
    )
    await asyncio.sleep(0)
    # The end arrives in the turn of the loop at whose end the body would be written.
    wire.protocol.eof_received()
    wire.protocol.abort()
    with pytest.raises(HandoverStopped, check=stopped_at("data", Silence.RESET)):
        await sending
    assert await asyncio.to_thread(wire.peer.recv, 100) == b"DATA\r\n"
    assert await asyncio.to_thread(wire.peer.recv, 100) == b""


async def test_connection_is_idle_only_where_nothing_is_owed_either_way(wire: Wire) -> None:
    seen = [wire.protocol.is_idle]
    await wire.hear(b"220 hello\r\n")
    seen.append(wire.protocol.is_idle)
    await wire.protocol.reply("connect", Budget(IN_TIME_S))
    seen.append(wire.protocol.is_idle)
    wire.protocol.send("data", b"DATA\r\n", 1)
    seen.append(wire.protocol.is_idle)
    await wire.hear(b"354 go ahead\r\n")
    await wire.protocol.reply("data", Budget(IN_TIME_S))
    seen.append(wire.protocol.is_idle)
    assert seen == [False, False, True, False, False]
