"""The product's own processes with servers of their own, for tests that stop and kill them.

Each program is what production runs: `python -m tallypost_api`, `python -m tallypost_worker`, with
an environment that holds nothing but its settings. Synchronous, so that a test can drive it from
threads while servers come and go.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from tallypost_cli.environment import base_environment
from tallypost_cli.guard import Guard
from tallypost_cli.ports import find_free_port
from tallypost_cli.supervisor import restart_delay_s
from tests.support.database import (
    PEPPER_SETTING,
    RING_SETTING,
    Database,
    SeededTenant,
    prepare_database,
    seed_tenant,
    with_database,
)
from tests.support.servers import (
    PostgresServer,
    RedisServer,
    start_test_postgres,
    start_test_redis,
)
from tests.support.worker import worker_environment

_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 20.0
_POLL_S = 0.05
# As the product's supervisor: who ran this long is not failing in a row.
_STEADY_AFTER_S = 30.0
_LOG_TAIL_LINES = 60


def wait_until(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Return once a condition holds; fails after within_s seconds, which only bounds a hang."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        time.sleep(_POLL_S)


class Program:
    """One program that is started again whenever it ends, until told to stop."""

    def __init__(
        self, name: str, module: str, environment: Mapping[str, str], port: int, folder: Path
    ) -> None:
        """port is where it answers health checks; its log goes to `folder`."""
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._command = [sys.executable, "-P", "-m", module]
        self._environment = dict(environment)
        self._port = port
        self._guard = Guard()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep_running, name=name, daemon=True)

    def start(self) -> None:
        """Start the program and keep it running; `wait_until_ready` tells when it answers."""
        self._keeper.start()

    def wait_until_ready(self) -> None:
        """Return once its health check is positive."""
        wait_until(self.is_ready, within_s=_READY_WITHIN_S, what=f"{self.name} is ready")

    def is_ready(self) -> bool:
        """True where its health check is positive."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self._port}/health/ready", timeout=5)
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    def kill(self) -> None:
        """End its present process with SIGKILL and return once it is gone."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def restart(self) -> None:
        """End its present process in the usual way; it starts again by itself."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()
                self._process.wait(_STOP_WITHIN_S)

    def stop(self) -> None:
        """End it in the usual way, for good."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.terminate()
        self._keeper.join(_STOP_WITHIN_S)
        if self._keeper.is_alive():
            self.kill()
            self._keeper.join()
        self._guard.dismiss()

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def _keep_running(self) -> None:
        failures = 0
        while True:
            started_s = time.monotonic()
            process = self._spawn()
            if process is None:
                return
            process.wait()
            self._guard.forget(process.pid)
            lasted_s = time.monotonic() - started_s
            failures = 1 if lasted_s > _STEADY_AFTER_S else failures + 1
            self._stopping.wait(restart_delay_s(failures))

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._lock, self.log_path.open("ab") as log:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            # Should the test itself be killed, nobody else would end this process.
            self._guard.watch(self._process.pid, "app")
            return self._process


class Platform:
    """A running platform: servers, a migrated database with two tenants, an API and workers."""

    def __init__(
        self,
        *,
        postgres: PostgresServer,
        redis: RedisServer,
        database: Database,
        tenants: tuple[SeededTenant, SeededTenant],
        api: Program,
        api_url: str,
        workers: Sequence[Program],
    ) -> None:
        self.postgres = postgres
        self.redis = redis
        self.database = database
        self.tenant, self.other_tenant = tenants
        self.api = api
        self.api_url = api_url
        self.workers = tuple(workers)

    @property
    def programs(self) -> tuple[Program, ...]:
        """Every program of it."""
        return (self.api, *self.workers)

    def wait_until_ready(self) -> None:
        """Return once every program answers its health check positively."""
        for program in self.programs:
            program.wait_until_ready()

    def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of all tenants, read past row-level security: for judging, never for acting."""
        return asyncio.run(self._fetch(query, *arguments))

    def count(self, query: str, *arguments: object) -> int:
        """The single number that a query gives."""
        return int(self.fetch(query, *arguments)[0][0])

    def add_tenant(self, domain: str) -> SeededTenant:
        """One more tenant, which sends from `domain`."""
        return asyncio.run(_add_tenant(self.database, "Another sample tenant", domain))

    def logs(self) -> str:
        """The ends of all logs, to be shown where a test fails."""
        return "\n".join(f"--- {program.name}\n{program.log_tail()}" for program in self.programs)

    async def _fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        url = with_database(self.postgres.superuser_url, self.database.name)
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()


@contextmanager
def running_platform(
    *, smtp_port: int, workers: int = 1, **worker_settings: str
) -> Iterator[Platform]:
    """A platform whose live email goes to an SMTP server on a local port.

    worker_settings are further variables of the workers' environment.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallypost-test-")))
        postgres = stack.enter_context(start_test_postgres(is_durable=True))
        redis = stack.enter_context(start_test_redis())
        database = Database(postgres.url, "tallypost")
        tenants = asyncio.run(_prepare(database))
        objects = folder / "objects"
        api_port = find_free_port()
        api = Program("api", "tallypost_api", _api(database, objects, api_port), api_port, folder)
        programs = [api]
        for number in range(1, workers + 1):
            port = find_free_port()
            environment = base_environment(os.environ) | worker_environment(
                database,
                redis_url=redis.url,
                objects=objects,
                smtp_port=smtp_port,
                TALLYPOST_WORKER_PORT=str(port),
                **worker_settings,
            )
            name = f"worker-{number}"
            programs.append(Program(name, "tallypost_worker", environment, port, folder))
        for program in programs:
            program.start()
            stack.callback(program.stop)
        platform = Platform(
            postgres=postgres,
            redis=redis,
            database=database,
            tenants=tenants,
            api=api,
            api_url=f"http://127.0.0.1:{api_port}",
            workers=programs[1:],
        )
        platform.wait_until_ready()
        yield platform


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of a test's platform where the test fails; for use in a conftest."""
    report = yield
    platform = item.funcargs.get("platform") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(platform, Platform):
        report.sections.append(("logs of the platform", platform.logs()))
    return report


async def _prepare(database: Database) -> tuple[SeededTenant, SeededTenant]:
    await prepare_database(database.owner_url)
    return (
        await _add_tenant(database, "First sample tenant", "example.com"),
        await _add_tenant(database, "Second sample tenant", "example.org"),
    )


async def _add_tenant(database: Database, name: str, domain: str) -> SeededTenant:
    async with database.sessions("tp_cli") as makers:
        return await seed_tenant(makers, name, domain)


def _api(database: Database, objects: Path, port: int) -> dict[str, str]:
    return base_environment(os.environ) | {
        "TALLYPOST_DATABASE_API_URL": database.url("tp_api"),
        "TALLYPOST_DATABASE_ACCEPT_URL": database.url("tp_accept"),
        "TALLYPOST_SECRETS_KEY_RING": RING_SETTING,
        "TALLYPOST_SECRETS_PEPPERS": PEPPER_SETTING,
        "TALLYPOST_OBJECTS_URL": f"file://{objects}",
        "TALLYPOST_API_PORT": str(port),
    }
