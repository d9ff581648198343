"""PostgreSQL and Redis for a test session, started by the same launchers as `tallypost up`.

Servers live in a temporary folder that goes with them. Should the test run itself be killed, a
guard process stops them. Synchronous on purpose: usable from session fixtures and from threads.
"""

import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tallypost_cli.embedded import postgres, redis
from tallypost_cli.guard import Guard
from tallypost_cli.ports import find_free_port

_DEADLINE_S = 60.0
_POLL_S = 0.01

S = TypeVar("S", bound="Server")


class Server:
    """One server process that a test may stop, kill and start again on the same port and data."""

    def __init__(self, name: str, folder: Path, stop_signal: signal.Signals) -> None:
        self.port = find_free_port()
        self.folder = folder
        self._name = name
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = Guard()

    @property
    def is_running(self) -> bool:
        """True while the server's process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, f"{self._name} was not started"
        return self._process.pid

    def start(self) -> None:
        """Start the server and return once it answers. Starting a running one changes nothing."""
        if self.is_running:
            return
        deadline = time.monotonic() + _DEADLINE_S
        self._launch()
        while not self._is_ready():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._name} is not ready:\n{self.log()}")
            if not self.is_running:
                # After `kill`, backends of PostgreSQL hold its shared memory for a moment.
                self._launch()
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End the server in its usual way: open transactions are rolled back, data is kept."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop the server and its guard for good."""
        self.stop()
        self._guard.dismiss()

    def log(self) -> str:
        """What the server wrote so far."""
        path = self.folder / f"{self._name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(_DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._guard.forget(self._process.pid)

    def _launch(self) -> None:
        if self._process is not None:
            self._guard.forget(self._process.pid)
        with (self.folder / f"{self._name}.log").open("ab") as log:
            self._process = self._spawn(
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._guard.watch(self._process.pid, "database")

    def _spawn(self, **streams: Any) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        raise NotImplementedError


class PostgresServer(Server):
    """A PostgreSQL server with an empty database `tallypost`.

    url is the login of the database's owner: it may create roles and databases and is no
    superuser, as on managed PostgreSQL. superuser_url is for what only a test has to do.
    """

    def __init__(self, folder: Path, *, is_durable: bool = False) -> None:
        super().__init__("postgres", folder, signal.SIGINT)
        self._settings = postgres.EmbeddedPostgres(
            data=folder / "data",
            superuser_password=secrets.token_urlsafe(24),
            owner_password=secrets.token_urlsafe(24),
            account=postgres.find_account(folder),
            is_durable=is_durable,
        )
        self._settings.prepare()
        self.url = self._settings.owner_url(self.port)
        self.superuser_url = self._settings.superuser_url(self.port)

    def _spawn(self, **streams: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._settings.command(self.port),
            cwd="/",
            env=self._settings.environment(),
            **self._settings.account.identity(),
            **streams,
        )

    def _is_ready(self) -> bool:
        return self._settings.is_ready(self.pid)


class RedisServer(Server):
    """A Redis server with a password, in `url`; it keeps its data over a restart."""

    def __init__(self, folder: Path) -> None:
        super().__init__("redis", folder, signal.SIGTERM)
        self._settings = redis.EmbeddedRedis(
            data=folder / "data", password=secrets.token_urlsafe(24)
        )
        self._settings.prepare(self.port)
        self.url = self._settings.url(self.port)

    def _spawn(self, **streams: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._settings.command(),
            cwd=self._settings.data,
            env=self._settings.environment(),
            **streams,
        )

    def _is_ready(self) -> bool:
        return self._settings.is_ready(self.port)


@contextmanager
def start_test_postgres(*, is_durable: bool = False) -> Iterator[PostgresServer]:
    """A running PostgreSQL; gone afterwards.

    Fast unless is_durable: then a commit outlives `kill`, as in production.
    """
    with (
        _temporary_folder("postgres") as folder,
        _running(lambda: PostgresServer(folder, is_durable=is_durable)) as server,
    ):
        yield server


@contextmanager
def start_test_redis() -> Iterator[RedisServer]:
    """A running Redis; gone afterwards."""
    with _temporary_folder("redis") as folder, _running(lambda: RedisServer(folder)) as it:
        yield it


@contextmanager
def _running(make: Callable[[], S]) -> Iterator[S]:
    server = make()
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def _temporary_folder(name: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"tallypost-test-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
