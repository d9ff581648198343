"""Serving: real sockets on loopback, real signals to a process of its own."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tallypost_telemetry import serving
from tallypost_telemetry.asgi import ASGIApp, Receive, Scope, Send
from tallypost_telemetry.ops import OpsApp
from tallypost_telemetry.serving import ServeError, serve

DEADLINE_S = 30

# An app that answers `/slow` once a file appears, served by `run`.
PROGRAM = """
import asyncio, pathlib, sys
from tallypost_core.settings.groups import LogSettings
from tallypost_telemetry import logging, serving
from tallypost_telemetry.ops import OpsApp

logging.configure(LogSettings(), "sample")
ops = OpsApp({})

async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/slow":
        print("slow request began", flush=True)
        while not pathlib.Path(sys.argv[2]).exists():
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"finished"})
    else:
        await ops(scope, receive, send)

def on_stop():
    ops.begin_shutdown()
    print("stopping", flush=True)

serving.run(app, "127.0.0.1", int(sys.argv[1]), on_stop=on_stop)
print("ended by itself", flush=True)
"""


def find_free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def wait_until_live(url: str) -> None:
    async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with client.get(f"{url}/health/live") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.02)


class Running:
    """An app served in the loop of the test."""

    def __init__(self, port: int, stop: asyncio.Event, task: asyncio.Task[None]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.stop = stop
        self.task = task


@contextlib.asynccontextmanager
async def serving_in_this_loop(app: ASGIApp, **options: Any) -> AsyncIterator[Running]:
    port, stop = find_free_port(), asyncio.Event()
    task = asyncio.create_task(serve(app, "127.0.0.1", port, stop, **options))
    try:
        running = Running(port, stop, task)
        await wait_until_live(running.url)
        yield running
    finally:
        stop.set()
        await asyncio.wait({task})


@contextlib.asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *arguments, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_it_serves_beside_other_tasks_until_told_to_stop() -> None:
    async with serving_in_this_loop(OpsApp({})) as running:
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{running.url}/health/ready") as answer:
                assert answer.status == 200
                assert "date" in answer.headers
                assert "server" not in answer.headers
            async with client.head(f"{running.url}/metrics") as answer:
                assert answer.status == 200
        running.stop.set()
        await running.task
        with pytest.raises(aiohttp.ClientConnectionError):
            await request_once(running.url)


async def test_answer_that_is_made_reaches_a_client_that_ends_its_side() -> None:
    async with serving_in_this_loop(OpsApp({})) as running:
        port = int(running.url.rpartition(":")[2])
        # The end of what it says comes with the request, or just after it.
        for _ in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            writer.write_eof()
            assert (await asyncio.wait_for(reader.read(), DEADLINE_S)).startswith(b"HTTP/1.1 200")
            writer.close()


async def request_once(url: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(f"{url}/health/live") as answer:
        await answer.read()


async def test_signal_handlers_of_the_process_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serving_in_this_loop(OpsApp({})):
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert during == before


async def test_on_stop_is_called_while_the_app_still_answers() -> None:
    app = OpsApp({})
    stopped: list[str] = []

    def on_stop() -> None:
        app.begin_shutdown()
        stopped.append("called")

    async with serving_in_this_loop(app, on_stop=on_stop) as running:
        assert stopped == []
        running.stop.set()
        await running.task
    assert stopped == ["called"]
    assert (await app.check_ready()).status == "stopping"


async def test_cancelling_ends_it_too() -> None:
    async with serving_in_this_loop(OpsApp({})) as running:
        running.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running.task
        with pytest.raises(aiohttp.ClientConnectionError):
            await request_once(running.url)


async def test_taken_port_is_named_and_the_loop_lives_on() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"127.0.0.1 port {port}"):
            await serve(OpsApp({}), "127.0.0.1", port, asyncio.Event())


async def test_app_that_does_not_start_is_an_error_and_the_loop_lives_on() -> None:
    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError(f"no {scope['type']}")

    with pytest.raises(ServeError, match="did not start"):
        await serve(app, "127.0.0.1", 0, asyncio.Event())


async def test_app_that_never_finishes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "STOP_LIMIT_S", 0.3)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await OpsApp({})(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.Event().wait()

    async with serving_in_this_loop(app) as running:
        running.stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await running.task


async def read_line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        return (await process.stdout.readline()).decode().strip()


async def get_text(url: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return await answer.text()


@pytest.mark.parametrize("signals", [["SIGTERM"], ["SIGINT"], ["SIGINT", "SIGTERM", "SIGINT"]])
async def test_signals_finish_the_answer_in_progress_and_end_cleanly(
    signals: list[str], tmp_path: Path
) -> None:
    port, gate = find_free_port(), tmp_path / "open"
    url = f"http://127.0.0.1:{port}"
    async with program(str(port), str(gate)) as process:
        await wait_until_live(url)
        slow = asyncio.create_task(get_text(f"{url}/slow"))
        assert await read_line(process) == "slow request began"
        for name in signals:
            process.send_signal(signal.Signals[name])
        assert await read_line(process) == "stopping"
        gate.touch()
        assert await slow == "finished"
        assert await read_line(process) == "ended by itself"
        async with asyncio.timeout(DEADLINE_S):
            _, errors = await process.communicate()
        assert process.returncode == 0
    events = [json.loads(line)["event"] for line in errors.splitlines()]
    assert events == ["server.listening", "server.stopping"]


async def test_taken_port_ends_the_process_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with program(str(port), str(tmp_path / "open")) as process:
            async with asyncio.timeout(DEADLINE_S):
                output, errors = await process.communicate()
            assert process.returncode == 1
    assert output == b""
    assert errors.decode() == (f"cannot listen on 127.0.0.1 port {port}: Address already in use\n")
