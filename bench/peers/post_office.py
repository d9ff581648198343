"""django-post-office: mails in PostgreSQL, 2 processes of 5 threads, status of each mail stored.

The closest to ours in what it does; no DKIM. Filled before it starts.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bench import installs, mail
from bench.children import Child
from bench.context import Context
from bench.errors import Failed
from bench.peers.peer import Send
from bench.sinks import Sink, wait_for_arrivals
from tallypost_cli.environment import base_environment

_PACKAGES = ("django-post-office==3.12.0", "Django==5.2.19", "psycopg[binary]==3.3.9")
_SCRIPT = Path(__file__).with_name("post_office_app.py")
_PREPARED_WITHIN_S = 60.0
_WITHIN_S = 60.0


@contextmanager
def running(context: Context, sink: Sink) -> Iterator[Send]:
    """Prepare its tables; its processes start for each measurement."""
    children = context.children
    python = installs.require_python_packages(children, context.cache / "post-office", _PACKAGES)
    with context.cluster.empty_database("post_office") as url:
        environment = base_environment(os.environ) | {
            "BENCH_POST_OFFICE": json.dumps(
                {"database": _database(url), "port": sink.port, "html": mail.html()}
            )
        }

        def command(*words: str) -> list[str]:
            # -P: the modules beside it must not hide those that it imports.
            return [python, "-P", str(_SCRIPT), *words]

        def prepare(*words: str) -> None:
            children.run(
                f"post-office-{words[0]}",
                command(*words),
                within_s=_PREPARED_WITHIN_S,
                environment=environment,
            )

        def send(count: int) -> float:
            prepare("enqueue", str(count))
            sink.reset()
            with children.running(
                "post-office", command("send"), environment=environment, stdout=subprocess.PIPE
            ) as child:
                began_s = _read_time(child)
                # It ends by itself once its queue is empty.
                arrivals = wait_for_arrivals(sink, count, within_s=_WITHIN_S, senders=[])
                return count / (arrivals.last_s - began_s)

        prepare("migrate")
        yield send


def _read_time(child: Child) -> float:
    """When it began, Django loaded: its first mail leaves once a whole batch of them is built."""
    stream = child.process.stdout
    line = stream.readline() if stream is not None else b""
    if not line:
        raise Failed(f"django-post-office did not begin:\n{child.log_tail()}")
    return float(line)


def _database(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    return {
        "NAME": parts.path.removeprefix("/"),
        "USER": parts.username,
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": parts.port,
    }
