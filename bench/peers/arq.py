"""One job in ARQ for each mail, EmailMessage and aiosmtplib: what most projects begin with.

Two workers of 50 jobs. Redis, no record of the mail, no DKIM. Filled before it starts.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.context import Context
from bench.peers.arq_app import PORT_VARIABLE, URL_VARIABLE
from bench.peers.peer import Send
from bench.servers import running_redis
from bench.sinks import Sink, wait_for_arrivals
from tallypost_cli.environment import base_environment

_WORKERS = 2
_ENQUEUED_WITHIN_S = 60.0
_WITHIN_S = 60.0


@contextmanager
def running(context: Context, sink: Sink) -> Iterator[Send]:
    """Give it a Redis of its own; its workers start for each measurement."""
    children = context.children
    # Our own lock file has ARQ and aiosmtplib, at versions that go together.
    with running_redis(children, context.folder / "arq-redis") as redis_url:
        environment = base_environment(os.environ) | {
            URL_VARIABLE: redis_url,
            PORT_VARIABLE: str(sink.port),
        }

        def send(count: int) -> float:
            children.run(
                "arq-enqueue",
                [sys.executable, "-m", "bench.peers.arq_app", str(count)],
                within_s=_ENQUEUED_WITHIN_S,
                environment=environment,
            )
            sink.reset()
            worker = [sys.executable, "-m", "arq", "bench.peers.arq_app.Settings"]
            with ExitStack() as stack:
                workers = [
                    stack.enter_context(
                        children.running(f"arq-{number}", worker, environment=environment)
                    )
                    for number in range(1, _WORKERS + 1)
                ]
                return wait_for_arrivals(sink, count, within_s=_WITHIN_S, senders=workers).rate

        yield send
