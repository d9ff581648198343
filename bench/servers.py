"""PostgreSQL and Redis of a run: durable, on loopback, tuned alike for us and for the anchors."""

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.children import Children
from tallypost_cli.embedded.postgres import EmbeddedPostgres, find_account
from tallypost_cli.embedded.redis import EmbeddedRedis
from tallypost_cli.ports import find_free_port

_READY_WITHIN_S = 60.0
_MOST_SHARED_BUFFERS_MB = 1024

SETTINGS_SHOWN = (
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
)


class Postgres:
    """A running server; `owner_url` is what the product's migrations log in with."""

    def __init__(self, owner_url: str, superuser_url: str) -> None:
        self.owner_url = owner_url
        self.superuser_url = superuser_url


@contextmanager
def running_postgres(children: Children, folder: Path) -> Iterator[Postgres]:
    """A server whose commits outlive a power cut, with its data in `folder`.

    Checkpoints are kept out of the measurements: which one they would meet is chance.
    """
    folder.mkdir()
    server = EmbeddedPostgres(
        data=folder / "data",
        superuser_password=secrets.token_urlsafe(24),
        owner_password=secrets.token_urlsafe(24),
        account=find_account(folder),
    )
    server.prepare()
    port = find_free_port()
    # After those of the launcher, so that the last word is ours.
    options = {
        "shared_buffers": f"{_shared_buffers_mb()}MB",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "30min",
        "fsync": "on",
        "synchronous_commit": "on",
        "max_connections": "300",
    }
    command = server.command(port)
    # The account's prefix is in the command already.
    command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    with children.running(
        "postgres",
        command,
        environment=server.environment(),
        cwd=Path("/"),
        role="database",
        stop_signal=signal.SIGINT,
        **server.account.identity(),
    ) as child:
        child.wait_until(
            lambda: server.is_ready(child.pid), within_s=_READY_WITHIN_S, what="PostgreSQL answers"
        )
        yield Postgres(server.owner_url(port), server.superuser_url(port))


@contextmanager
def running_redis(children: Children, folder: Path) -> Iterator[str]:
    """A server that appends to its file every second; yields its address."""
    server = EmbeddedRedis(data=folder, password=secrets.token_urlsafe(24))
    port = find_free_port()
    server.prepare(port)
    with children.running(
        "redis", server.command(), environment=server.environment(), cwd=folder, role="database"
    ) as child:
        child.wait_until(
            lambda: server.is_ready(port), within_s=_READY_WITHIN_S, what="Redis answers"
        )
        yield server.url(port)


def _shared_buffers_mb() -> int:
    memory_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return max(128, min(_MOST_SHARED_BUFFERS_MB, memory_mb // 8))
