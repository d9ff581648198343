"""The product's own processes with servers of their own, for tests that stop and kill them.

Each program is what production runs: `python -m tallypost_api`, `python -m tallypost_worker`, with
an environment that holds nothing but its settings. Synchronous, so that a test can drive it from
threads while servers come and go.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import asyncpg
import pytest

from tallypost_cli.environment import base_environment
from tallypost_cli.ports import find_free_port
from tests.support.database import (
    PEPPER_SETTING,
    RING_SETTING,
    Database,
    SeededTenant,
    prepare_database,
    seed_tenant,
    with_database,
)
from tests.support.programs import Program as Program
from tests.support.programs import wait_until as wait_until
from tests.support.servers import (
    PostgresServer,
    RedisServer,
    start_test_postgres,
    start_test_redis,
)
from tests.support.tcp_proxy import with_port
from tests.support.worker import worker_environment

DOMAINS = ("example.com", "example.org")
"""The verified domains of the two tenants."""

Route = Callable[[str, str, int], int]
"""The port by which a program (`api`, `worker-1` …) reaches a server (`postgres`, `redis`, or a
provider by its name, such as `smtp`) that listens on the given one."""


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

    def stop(self) -> None:
        """End every program, all at the same time."""
        with ThreadPoolExecutor(len(self.programs)) as threads:
            list(threads.map(Program.stop, self.programs))

    def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of all tenants, read past row-level security: for judging, never for acting."""
        return asyncio.run(self._fetch(query, *arguments))

    def count(self, query: str, *arguments: object) -> int:
        """The single number that a query gives."""
        return int(self.fetch(query, *arguments)[0][0])

    def add_tenant(self, domain: str) -> SeededTenant:
        """One more tenant, which sends from `domain`."""
        (tenant,) = self.add_tenants([domain])
        return tenant

    def add_tenants(self, domains: Sequence[str]) -> list[SeededTenant]:
        """One more tenant for each domain."""
        return asyncio.run(_add_tenants(self.database, domains))

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
    with start_test_postgres(is_durable=True) as postgres, start_test_redis() as redis:
        database = Database(postgres.url, "tallypost")
        asyncio.run(prepare_database(database.owner_url))
        with platform_on(
            postgres,
            redis,
            database,
            smtp_port=smtp_port,
            workers=workers,
            settings=worker_settings,
        ) as platform:
            yield platform


@contextmanager
def platform_on(
    postgres: PostgresServer,
    redis: RedisServer,
    database: Database,
    *,
    smtp_port: int,
    workers: int,
    settings: Mapping[str, str],
    apis: Mapping[str, int] = MappingProxyType({}),
    route: Route = lambda program, server, port: port,
) -> Iterator[Platform]:
    """As `running_platform`, on servers that run and a migrated database without tenants.

    settings are further variables of the workers' environment; apis are the ports of providers
    with an API, by their names.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallypost-test-")))
        programs = _Programs(postgres, redis, database, folder, {"smtp": smtp_port, **apis}, route)
        tenants = asyncio.run(_add_tenants(database, DOMAINS))
        api_port = find_free_port()
        api = programs.api(api_port)
        platform = Platform(
            postgres=postgres,
            redis=redis,
            database=database,
            tenants=(tenants[0], tenants[1]),
            api=api,
            api_url=f"http://127.0.0.1:{api_port}",
            workers=[programs.worker(number + 1, settings) for number in range(workers)],
        )
        stack.callback(platform.stop)
        for program in platform.programs:
            program.start()
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


class _Programs:
    """Gives each program the environment that it would have in production."""

    def __init__(
        self,
        postgres: PostgresServer,
        redis: RedisServer,
        database: Database,
        folder: Path,
        providers: Mapping[str, int],
        route: Route,
    ) -> None:
        self._database = database
        self._folder = folder
        self._objects = folder / "objects"
        self._urls = {"postgres": postgres.url, "redis": redis.url}
        self._providers = providers
        self._route = route

    def api(self, port: int) -> Program:
        postgres_port = self._port("api", "postgres")
        environment = base_environment(os.environ) | {
            "TALLYPOST_DATABASE_API_URL": with_port(self._database.url("tp_api"), postgres_port),
            "TALLYPOST_DATABASE_ACCEPT_URL": with_port(
                self._database.url("tp_accept"), postgres_port
            ),
            "TALLYPOST_REDIS_URL": self._redis_url("api"),
            "TALLYPOST_SECRETS_KEY_RING": RING_SETTING,
            "TALLYPOST_SECRETS_PEPPERS": PEPPER_SETTING,
            "TALLYPOST_OBJECTS_URL": f"file://{self._objects}",
            "TALLYPOST_API_PORT": str(port),
        }
        return Program("api", "tallypost_api", environment, port, self._folder)

    def worker(self, number: int, settings: Mapping[str, str]) -> Program:
        name, port = f"worker-{number}", find_free_port()
        postgres_port = self._port(name, "postgres")
        ports = {
            provider: self._route(name, provider, own_port)
            for provider, own_port in self._providers.items()
        }
        environment = base_environment(os.environ) | worker_environment(
            self._database,
            redis_url=self._redis_url(name),
            objects=self._objects,
            smtp_port=ports.pop("smtp"),
            TALLYPOST_WORKER_PORT=str(port),
            **settings,
        )
        for provider, api_port in ports.items():
            environment[f"TALLYPOST_{provider.upper()}_ENDPOINT"] = f"http://127.0.0.1:{api_port}"
        for variable in ("TALLYPOST_DATABASE_DELIVER_URL", "TALLYPOST_DATABASE_WORKER_URL"):
            environment[variable] = with_port(environment[variable], postgres_port)
        return Program(name, "tallypost_worker", environment, port, self._folder)

    def _port(self, program: str, server: str) -> int:
        return self._route(program, server, urlsplit(self._urls[server]).port or 0)

    def _redis_url(self, program: str) -> str:
        return with_port(self._urls["redis"], self._port(program, "redis"))


async def _add_tenants(database: Database, domains: Sequence[str]) -> list[SeededTenant]:
    async with database.sessions("tp_cli") as makers:
        return [
            await seed_tenant(makers, f"Sample tenant of {domain}", domain) for domain in domains
        ]
