"""What posting the same email costs one process with a bare HTTP client: nothing but requests.

The body is the one that the adapter makes of the email that everybody sends.
"""

import asyncio
import itertools
import sys
import time

import aiohttp
import msgspec
import uvloop
from msgspec import Struct

from bench import mail
from bench.children import Children
from tallypost_providers.sendgrid_envelope import read_envelope
from tallypost_providers.sendgrid_mail import write_body

_GRACE_S = 60.0


class PostJob(Struct, frozen=True):
    """What is posted, to where."""

    url: str
    count: int
    connections: int


class Posted(Struct, frozen=True):
    """What it took."""

    rate: float
    """Requests answered in a second."""
    cpu_us: float
    """Processor time of the process for each, in microseconds."""


def measure(children: Children, job: PostJob) -> Posted:
    """Post in a process of its own; raises Failed where an answer is not 202."""
    answer = children.ask("bench.anchors.bare_http", job, within_s=_GRACE_S)
    return msgspec.json.decode(answer, type=Posted)


async def _post(job: PostJob) -> Posted:
    email = mail.outgoing("hello@example.com", "somebody@example.net")
    body = write_body(email, read_envelope(email))
    headers = {"authorization": "Bearer sample", "content-type": "application/json"}
    numbers = itertools.count()

    async def work(session: aiohttp.ClientSession) -> None:
        while next(numbers) < job.count:
            async with session.post(job.url, data=body, headers=headers) as response:
                await response.read()
                if response.status != 202:
                    raise SystemExit(f"answered {response.status}")

    connector = aiohttp.TCPConnector(limit=job.connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        started_s, used_s = time.monotonic(), time.process_time()
        await asyncio.gather(*(work(session) for _ in range(job.connections)))
        took_s, used_s = time.monotonic() - started_s, time.process_time() - used_s
    return Posted(job.count / took_s, used_s / job.count * 1e6)


def main() -> None:
    """Post as the first argument says."""
    job = msgspec.json.decode(sys.argv[1], type=PostJob)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        posted = runner.run(_post(job))
    sys.stdout.buffer.write(msgspec.json.encode(posted))


if __name__ == "__main__":
    main()
