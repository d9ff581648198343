"""A server of the tests in a process of its own, which answers questions over a pipe.

What counts, sends or passes bytes on must not wait for the test that drives it, nor the other
way round: each has an event loop of its own, and its own interpreter.
"""

import asyncio
import inspect
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from multiprocessing.connection import Connection
from typing import Any

import uvloop

Answers = Mapping[str, Callable[..., object]]
"""What a process can be asked; an answer that is a coroutine is awaited."""

Serve = Callable[..., AbstractAsyncContextManager[Answers]]
"""Runs for as long as the process does. It and its arguments are pickled."""

_START_WITHIN_S = 30.0
_STOP_WITHIN_S = 10.0
_READY = "ready"


class SideProcess:
    """The asking end; any thread may ask."""

    def __init__(self, name: str, channel: Connection) -> None:
        self._name = name
        self._channel = channel
        self._lock = threading.Lock()

    def ask(self, question: str, *arguments: object) -> Any:
        """What the process answers. Raises RuntimeError where it has ended."""
        with self._lock:
            try:
                self._channel.send((question, arguments))
                return self._channel.recv()
            except (EOFError, OSError) as error:
                raise RuntimeError(f"the {self._name} has ended") from error

    def close(self) -> None:
        """Ask nothing more, which ends the process; whoever is asking gets an answer first."""
        with self._lock:
            self._channel.close()


@contextmanager
def side_process(name: str, serve: Serve, *arguments: object) -> Iterator[SideProcess]:
    """Run `serve(*arguments)` in a process that ends with the block, or with this process."""
    ours, theirs = multiprocessing.Pipe()
    # Not forked: a copy of this process would hold its threads' locks.
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_run, args=(theirs, serve, arguments), name=name, daemon=True)
    process.start()
    theirs.close()
    asking = SideProcess(name, ours)
    try:
        if not ours.poll(_START_WITHIN_S) or ours.recv() != _READY:
            raise RuntimeError(f"the {name} did not start")
        yield asking
    finally:
        asking.close()
        process.join(_STOP_WITHIN_S)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _run(channel: Connection, serve: Serve, arguments: tuple[object, ...]) -> None:
    # Ctrl-C is for the test, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_answer_until_closed(channel, serve, arguments))


async def _answer_until_closed(
    channel: Connection, serve: Serve, arguments: tuple[object, ...]
) -> None:
    async with serve(*arguments) as answers:
        channel.send(_READY)
        while (asked := await asyncio.to_thread(_receive, channel)) is not None:
            question, given = asked
            answer = answers[question](*given)
            channel.send(await answer if inspect.isawaitable(answer) else answer)


def _receive(channel: Connection) -> tuple[str, tuple[object, ...]] | None:
    try:
        asked: tuple[str, tuple[object, ...]] = channel.recv()
    except (EOFError, ConnectionError):
        # Whoever started this process is gone or has closed its end.
        return None
    return asked
