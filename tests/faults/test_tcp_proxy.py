"""The wire that tests break does what it is told, and nothing else."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from tests.support.tcp_proxy import BOTH, TCPProxy, with_port

_SOON_S = 10.0
# Long enough for bytes that are not held back to have come.
_NOTHING_COMES_S = 0.1

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Test = Callable[[], Coroutine[Any, Any, None]]


class _Echo:
    """A server that repeats what it hears and notes how its connections ended."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.ends: list[str] = []

    @asynccontextmanager
    async def behind_proxy(self) -> AsyncIterator[TCPProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server, TCPProxy(server.sockets[0].getsockname()[1]) as proxy:
            yield proxy
        await _until(lambda: not proxy.open_connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.heard += data
                writer.write(data)
                await writer.drain()
            self.ends.append("in order")
        except ConnectionError:
            self.ends.append("reset")
        finally:
            writer.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """Both loops that the proxy is used on; their transports differ."""
    return asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop


@pytest.fixture
def run(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[Test], None]:
    """Runs a test's coroutine function."""

    def run_test(test: Test) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test())

    return run_test


def test_bytes_pass_both_ways_and_the_end_passes_too(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        echo = _Echo()
        sent = bytes(range(256)) * 8_000
        async with echo.behind_proxy() as proxy:
            reader, writer = await _connect(proxy)
            writer.write(sent)
            assert await _within(reader.readexactly(len(sent))) == sent
            writer.write_eof()
            assert await _within(reader.read()) == b""
            writer.close()
            await _until(lambda: not proxy.open_connections)
        assert echo.ends == ["in order"]

    run(test)


@pytest.mark.parametrize("direction", BOTH)
def test_a_paused_direction_keeps_bytes_back_and_loses_none(
    run: Callable[[Test], None], direction: str
) -> None:
    async def test() -> None:
        echo = _Echo()
        async with echo.behind_proxy() as proxy:
            reader, writer = await _connect(proxy)
            proxy.pause("requests" if direction == "requests" else "answers")
            writer.write(b"hello")
            await _nothing_comes(reader)
            assert bytes(echo.heard) == (b"" if direction == "requests" else b"hello")
            proxy.resume()
            assert await _within(reader.readexactly(5)) == b"hello"
            writer.close()

    run(test)


def test_a_paused_wire_hides_the_end_of_a_connection(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        echo = _Echo()
        async with echo.behind_proxy() as proxy:
            _, writer = await _connect(proxy)
            proxy.pause()
            writer.transport.abort()
            await asyncio.sleep(_NOTHING_COMES_S)
            assert echo.ends == []
            proxy.resume()
            await _until(lambda: echo.ends)

    run(test)


def test_a_cut_wire_resets_what_is_open_and_what_comes(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        echo = _Echo()
        async with echo.behind_proxy() as proxy:
            reader, writer = await _connect(proxy)
            writer.write(b"hello")
            await _within(reader.readexactly(5))
            proxy.cut()
            await _expect_reset(reader)
            writer.close()
            reader, writer = await _connect(proxy)
            await _expect_reset(reader)
            writer.close()
            await _until(lambda: echo.ends)
            assert (echo.ends, proxy.refused) == (["reset"], 1)
            proxy.mend()
            reader, writer = await _connect(proxy)
            writer.write(b"again")
            assert await _within(reader.readexactly(5)) == b"again"
            writer.close()

    run(test)


def test_slowed_and_dripped_bytes_all_come(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        echo = _Echo()
        async with echo.behind_proxy() as proxy:
            reader, writer = await _connect(proxy)
            proxy.delay(0.05)
            writer.write(b"first")
            assert await _within(reader.readexactly(5)) == b"first"
            proxy.drip(500, "requests")
            writer.write(b"x" * 60)
            # It comes in pieces: the first is there while the last is not.
            first = await _within(reader.read(65536))
            assert 0 < len(first) < 60
            await _within(reader.readexactly(60 - len(first)))
            proxy.mend()
            writer.write(b"last")
            assert await _within(reader.readexactly(4)) == b"last"
            writer.close()

    run(test)


def test_a_wire_that_is_full_makes_the_sender_wait(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        echo = _Echo()
        sent = b"x" * 64_000_000
        async with echo.behind_proxy() as proxy:
            proxy.pause("requests")
            reader, writer = await _connect(proxy)
            writer.write(sent)
            await asyncio.sleep(_NOTHING_COMES_S)
            assert writer.transport.get_write_buffer_size() > len(sent) / 2
            proxy.resume()
            assert len(await _within(reader.readexactly(len(sent)))) == len(sent)
            writer.close()

    run(test)


def test_a_server_that_is_away_is_away_by_way_of_the_proxy(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        # Bound and never listening: nobody else can answer on its port.
        with socket.socket() as away:
            away.bind(("127.0.0.1", 0))
            async with TCPProxy(away.getsockname()[1]) as proxy:
                reader, writer = await _connect(proxy)
                await _expect_reset(reader)
                writer.close()

    run(test)


def test_a_wire_that_refuses_does_so_until_it_accepts_again(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        echo = _Echo()
        async with echo.behind_proxy() as proxy:
            port = proxy.port
            reader, writer = await _connect(proxy)
            await proxy.refuse()
            await _expect_reset(reader)
            writer.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            await proxy.accept()
            assert proxy.port == port
            reader, writer = await _connect(proxy)
            writer.write(b"hello")
            assert await _within(reader.readexactly(5)) == b"hello"
            writer.close()

    run(test)


def test_an_address_keeps_its_login_and_database() -> None:
    url = "postgresql://role:a%40b@127.0.0.1:5432/name?x=y"
    assert with_port(url, 7) == "postgresql://role:a%40b@127.0.0.1:7/name?x=y"
    assert with_port("redis://:secret@127.0.0.1:6379/0", 7) == "redis://:secret@127.0.0.1:7/0"
    assert with_port("redis://127.0.0.1:6379", 7) == "redis://127.0.0.1:7"


async def _connect(proxy: TCPProxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def _within(reading: Coroutine[Any, Any, bytes]) -> bytes:
    return await asyncio.wait_for(reading, _SOON_S)


async def _nothing_comes(reader: asyncio.StreamReader) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), _NOTHING_COMES_S)


async def _expect_reset(reader: asyncio.StreamReader) -> None:
    with pytest.raises(ConnectionResetError):
        await _within(reader.read(1))


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(_SOON_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
