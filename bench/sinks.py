"""The mail server at the far end, and what it counted."""

import os
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec

from bench.children import Child, Children, listens
from bench.errors import Failed
from bench.sink_process import Arrivals
from bench.smtp_sink import SinkJob
from tallypost_cli.ports import find_free_port

_START_WITHIN_S = 20.0
_ANSWER_WITHIN_S = 10.0
_POLL_S = 0.02
_STALLED_S = 20.0
# smtp-sink writes 30 bytes for each message; its pipe must not fill up.
_READ_EVERY_S = 0.004
_READ_BYTES = 1 << 20
_COUNTER = re.compile(rb"mesg=(\d+)\s*\r")


class Sink(Protocol):
    """A running sink."""

    port: int

    def reset(self) -> None:
        """Forget what came so far."""
        ...

    def arrivals(self) -> Arrivals:
        """What came since."""
        ...


class OwnSink:
    """One of our sink processes; see `sink_process`."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.port = int(self._read())

    def reset(self) -> None:
        """Forget what came so far."""
        self._write(b"reset\n")

    def arrivals(self) -> Arrivals:
        """What came since."""
        self._write(b"arrivals\n")
        return msgspec.json.decode(self._read(), type=Arrivals)

    def _write(self, command: bytes) -> None:
        self._child.require_running()
        stream = self._child.process.stdin
        if stream is None:
            raise RuntimeError("the sink was started without a pipe")
        stream.write(command)
        stream.flush()

    def _read(self) -> bytes:
        stream = self._child.process.stdout
        if stream is None:
            raise RuntimeError("the sink was started without a pipe")
        if not select.select([stream], [], [], _ANSWER_WITHIN_S)[0]:
            raise Failed(f"the sink does not answer:\n{self._child.log_tail()}")
        return stream.readline()


class PostfixSink:
    """Postfix's smtp-sink; a thread reads the counter that it writes after each message."""

    def __init__(self, child: Child, port: int) -> None:
        self.port = port
        self._child = child
        self._lock = threading.Lock()
        self._total = self._base = 0
        self._first_s = self._last_s = 0.0
        stream = child.process.stdout
        if stream is None:
            raise RuntimeError("smtp-sink was started without a pipe")
        # A handle of its own, which stays valid until the thread has seen the end.
        handle = os.dup(stream.fileno())
        threading.Thread(target=self._follow, args=(handle,), daemon=True).start()

    def reset(self) -> None:
        """Forget what came so far."""
        with self._lock:
            self._base = self._total
            self._first_s = self._last_s = 0.0

    def arrivals(self) -> Arrivals:
        """What came since, by the clock of this process: exact to some milliseconds."""
        self._child.require_running()
        with self._lock:
            return Arrivals(
                taken=self._total - self._base,
                refused=0,
                first_s=self._first_s,
                last_s=self._last_s,
            )

    def _follow(self, handle: int) -> None:
        rest = b""
        while data := os.read(handle, _READ_BYTES):
            rest += data
            found = _COUNTER.findall(rest)
            rest = rest[rest.rfind(b"\r") + 1 :]
            if found:
                self._note(int(found[-1]))
            time.sleep(_READ_EVERY_S)
        os.close(handle)

    def _note(self, total: int) -> None:
        now_s = time.monotonic()
        with self._lock:
            if total > self._total:
                self._total = total
                self._last_s = now_s
                self._first_s = self._first_s or now_s


@contextmanager
def own_sink(children: Children, job: SinkJob) -> Iterator[OwnSink]:
    """Run our SMTP sink."""
    with _running_sink(children, "bench.smtp_sink", msgspec.json.encode(job).decode()) as sink:
        yield sink


@contextmanager
def http_sink(children: Children) -> Iterator[OwnSink]:
    """Run our sink for a provider's HTTP API."""
    with _running_sink(children, "bench.http_sink") as sink:
        yield sink


@contextmanager
def _running_sink(children: Children, module: str, *arguments: str) -> Iterator[OwnSink]:
    command = [sys.executable, "-m", module, *arguments]
    with children.running("sink", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        yield OwnSink(child)


@contextmanager
def counting_sink(children: Children) -> Iterator[Sink]:
    """The sink that everybody's throughput is measured with: smtp-sink, else our own.

    smtp-sink costs least, which matters where sender and sink share two cores.
    """
    program = find_postfix_tool("smtp-sink")
    if program is None:
        with own_sink(children, SinkJob()) as sink:
            yield sink
        return
    port = find_free_port()
    # It refuses to run as root.
    identity = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = [program, *identity, "-c", f"127.0.0.1:{port}", "512"]
    with children.running("smtp-sink", command, stdout=subprocess.PIPE) as child:
        child.wait_until(lambda: listens(port), within_s=_START_WITHIN_S, what="smtp-sink listens")
        yield PostfixSink(child, port)


def wait_for_arrivals(sink: Sink, count: int, *, within_s: float, senders: list[Child]) -> Arrivals:
    """Return once so many mails were answered.

    Raises Failed, with the ends of the senders' logs, where one of them ends, where nothing comes
    for a while, or where they are not all there in time.
    """
    now_s = progress_s = time.monotonic()
    deadline_s = now_s + within_s
    done = 0
    while (arrivals := sink.arrivals()).done < count:
        for sender in senders:
            sender.require_running()
        now_s = time.monotonic()
        if arrivals.done > done:
            done, progress_s = arrivals.done, now_s
        if now_s > deadline_s or now_s - progress_s > _STALLED_S:
            logs = "\n".join(f"{sender.name}: {sender.log_tail()}" for sender in senders)
            raise Failed(f"only {done} of {count} mails came\n{logs}")
        time.sleep(_POLL_S)
    return arrivals


def find_postfix_tool(name: str) -> str | None:
    """One of Postfix's programs, which are often where only root searches."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")
