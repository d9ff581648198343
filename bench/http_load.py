"""Clients that post emails as fast as answers come, or at a fixed rate: a process of its own.

Bare HTTP/1.1 over kept connections. Every request has a key and a recipient of its own. An answer
other than 200 ends the run: a rate with refusals in it would say nothing.
"""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterator
from typing import cast

import msgspec
import uvloop
from msgspec import Struct

from bench import mail
from bench.children import Children

MODEL_NUMBER = "000000000001"
"""Stands in recipients and subject of the first email of every job, and nowhere else."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
# Longest wait for the answers to what was sent when the time was up.
_LAST_ANSWERS_S = 15.0


class Job(Struct, frozen=True, kw_only=True):
    """What to post, and until when: `seconds` or `requests`, whichever is reached first."""

    port: int
    token: str
    sender: str
    clients: int
    seconds: float = 60.0
    requests: int = 10_000_000
    emails: int = 1
    """In one request: one by `POST /emails`, more by `POST /emails/batch`, all or none."""
    recipients: int = 1
    """Of each email."""
    rate_per_s: float = 0.0
    """0 posts again as soon as the answer is there."""
    keeps_ids: bool = False


class Answers(Struct, frozen=True, kw_only=True):
    """What came of it; times are of the monotonic clock, which all processes share."""

    requests: int
    recipients: int
    first_sent_s: float
    last_answered_s: float
    latencies_s: list[float]
    sent: dict[str, float] = {}
    """When the request for each email id was sent; with `keeps_ids`."""

    @property
    def rate(self) -> float:
        """Recipients accepted in a second."""
        return self.recipients / (self.last_answered_s - self.first_sent_s)


class Refused(Exception):
    """The server answered something else than 200."""


class _Requests:
    """Makes the bytes of requests that differ in key, recipients and subjects alone."""

    def __init__(self, job: Job) -> None:
        run = secrets.token_hex(8)
        self._count = 0
        self._emails = job.emails
        to = [f"r{MODEL_NUMBER}.{n}@example.net" for n in range(job.recipients)]
        text = json.dumps(mail.request(job.sender, to, f"Receipt {MODEL_NUMBER}"))
        self._pieces = [piece.encode() for piece in text.split(MODEL_NUMBER)]
        is_batch = job.emails > 1
        # Of a batch also the two brackets, and commas between the emails.
        body_bytes = len(text) * job.emails + is_batch * (job.emails + 1)
        self._head = (
            f"POST /emails{'/batch' if is_batch else ''} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"authorization: Bearer {job.token}\r\ncontent-type: application/json\r\n"
            f"content-length: {body_bytes}\r\nidempotency-key: {run}-%d\r\n\r\n"
        ).encode()

    def next(self) -> bytes:
        """The next request."""
        self._count += 1
        first = (self._count - 1) * self._emails + 1
        head = self._head % self._count
        if self._emails == 1:
            return head + self._body(first)
        return head + b"[" + b",".join(self._body(first + n) for n in range(self._emails)) + b"]"

    def _body(self, number: int) -> bytes:
        return (b"%012d" % number).join(self._pieces)


class _Run:
    """What all connections share."""

    def __init__(self, job: Job, requests: _Requests) -> None:
        self.job = job
        self.requests = requests
        self.begun = 0
        self.latencies_s: list[float] = []
        self.sent: dict[str, float] = {}
        self.started_s = time.monotonic()
        self.last_answered_s = self.started_s
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        """True where no further request is to be sent."""
        return (
            self.begun >= self.job.requests or time.monotonic() - self.started_s >= self.job.seconds
        )


class _Client(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = b""
        self._sent_s = 0.0
        self.idle = asyncio.Event()
        self.idle.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the base class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the server closed a connection")

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()

    def post(self) -> None:
        """Send the next request; the answer makes the connection idle, or posts again."""
        request = self._run.requests.next()
        self._run.begun += 1
        self.idle.clear()
        self._sent_s = time.monotonic()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(_HEAD_END)
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        start = head.find(_LENGTH)
        if start < 0:
            self._fail("an answer came without a length")
            return
        length = int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0])
        body = self._buffer[head_end + len(_HEAD_END) :]
        if len(body) < length:
            return
        if head.split(b" ", 2)[1] != b"200":
            self._fail(f"{head[:40]!r} {body[:300]!r}")
            return
        self._buffer = b""
        self._answered(body)

    def _answered(self, body: bytes) -> None:
        run = self._run
        run.last_answered_s = time.monotonic()
        run.latencies_s.append(run.last_answered_s - self._sent_s)
        if run.job.keeps_ids:
            run.sent[json.loads(body)["id"]] = self._sent_s
        if run.is_over or run.job.rate_per_s:
            self.idle.set()
        else:
            self.post()

    def _fail(self, reason: str) -> None:
        if not self._run.failure.done():
            self._run.failure.set_exception(Refused(reason))


async def post(job: Job) -> Answers:
    """Do the job; raises Refused at the first answer that is not 200."""
    loop = asyncio.get_running_loop()
    run = _Run(job, _Requests(job))
    clients = [
        (await loop.create_connection(lambda: _Client(run), "127.0.0.1", job.port))[1]
        for _ in range(job.clients)
    ]
    # Connecting is not part of it.
    run.started_s = time.monotonic()
    if job.rate_per_s:
        work = asyncio.create_task(_post_paced(run, clients))
    else:
        for client in clients[: job.requests]:
            client.post()
        work = asyncio.create_task(_wait_for_all(clients))
    limit_s = job.seconds + _LAST_ANSWERS_S
    await asyncio.wait({work, run.failure}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    if run.failure.done():
        work.cancel()
        run.failure.result()
    if not work.done():
        work.cancel()
        raise Refused(f"some requests were not answered within {limit_s:g} s")
    work.result()
    # What the connections say from here on is no news.
    run.failure.cancel()
    for client in clients:
        client.close()
    return Answers(
        requests=len(run.latencies_s),
        recipients=len(run.latencies_s) * job.emails * job.recipients,
        first_sent_s=run.started_s,
        last_answered_s=run.last_answered_s,
        latencies_s=run.latencies_s,
        sent=run.sent,
    )


async def _wait_for_all(clients: list[_Client]) -> None:
    for client in clients:
        await client.idle.wait()


async def _post_paced(run: _Run, clients: list[_Client]) -> None:
    """Send at fixed times, each by the next connection; a late answer delays its own only."""
    for number, client in enumerate(_in_turn(clients)):
        due_s = run.started_s + number / run.job.rate_per_s
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        if run.is_over:
            break
        await client.idle.wait()
        client.post()
    await _wait_for_all(clients)


def _in_turn(clients: list[_Client]) -> Iterator[_Client]:
    while True:
        yield from clients


def ask(children: Children, job: Job) -> Answers:
    """Do a job in a process of its own; raises Failed where the API refuses anything."""
    within_s = job.seconds + 2 * _LAST_ANSWERS_S
    return msgspec.json.decode(
        children.ask("bench.http_load", job, within_s=within_s), type=Answers
    )


def main() -> None:
    """Do the job of the first argument; the answers go to standard output as JSON."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            answers = runner.run(post(job))
        except Refused as refusal:
            raise SystemExit(f"the API refused: {refusal}") from refusal
    sys.stdout.buffer.write(msgspec.json.encode(answers))


if __name__ == "__main__":
    main()
