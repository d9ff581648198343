"""The servers of a whole run, and a fresh platform on them for each experiment."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from urllib.parse import urlsplit

import asyncpg

from tests.faults.links import Link, Network, running_network
from tests.support.counting_sink import CountingSink, counting_sink
from tests.support.database import Database, prepare_database
from tests.support.platform import DOMAINS, Platform, platform_on
from tests.support.provider_sinks import SETTINGS, ProviderSink, provider_sink
from tests.support.servers import (
    PostgresServer,
    RedisServer,
    start_test_postgres,
    start_test_redis,
)

Links = dict[tuple[str, str], Link]
"""The wire from a program (`api`, `worker-1` …) to a server (`postgres`, `redis`, or a provider by
its name, such as `smtp`)."""

_TEMPLATE = "tallypost"
_DROPPED_WITHIN_S = 30.0
_DROP_AGAIN_S = 0.5


class Stage:
    """PostgreSQL with durable commits, Redis, the world's mail servers, and the network between."""

    def __init__(
        self,
        postgres: PostgresServer,
        redis: RedisServer,
        sink: CountingSink,
        network: Network,
        stack: ExitStack,
    ) -> None:
        """stack holds the providers, each of which starts with the first platform that needs it."""
        self.postgres = postgres
        self.redis = redis
        self.sink = sink
        self.apis: dict[str, ProviderSink] = {}
        """The providers with an API that the present platform uses, by their names."""
        self._network = network
        self._stack = stack
        self._numbers = count(1)
        self._started: dict[str, ProviderSink] = {}

    @property
    def folders(self) -> list[str]:
        """Where the servers keep their data and work."""
        return [str(server.folder) for server in (self.postgres, self.redis)]

    @contextmanager
    def platform(
        self, workers: int, settings: dict[str, str], *, providers: Sequence[str] = ("smtp",)
    ) -> Iterator[tuple[Platform, Links]]:
        """A platform with a database of its own, each of its connections over a wire of its own.

        Whatever an experiment before broke is mended first. providers are those of the workers,
        best first; SMTP is always among the wires.
        """
        self.postgres.start()
        self.redis.start()
        self.sink.misbehave()
        self.sink.forget()
        self.apis = {name: self._api(name) for name in providers if name in SETTINGS}
        links: Links = {}

        def route(program: str, server: str, port: int) -> int:
            links[program, server] = self._network.link(port)
            return links[program, server].port

        with ExitStack() as stack:
            database = stack.enter_context(self._database())
            stack.callback(_close, links)
            # Before a worker asks whether they may be sent from.
            for api in self.apis.values():
                for domain in DOMAINS:
                    api.verify(domain)
            platform = stack.enter_context(
                platform_on(
                    self.postgres,
                    self.redis,
                    database,
                    smtp_port=self.sink.port,
                    workers=workers,
                    apis={name: api.port for name, api in self.apis.items()},
                    route=route,
                    settings=_settings_of(providers) | settings,
                )
            )
            yield platform, links

    def _api(self, name: str) -> ProviderSink:
        """A provider that has taken nothing yet and does as it should."""
        if name not in self._started:
            self._started[name] = self._stack.enter_context(provider_sink(name))
        api = self._started[name]
        api.misbehave()
        api.forget()
        return api

    @contextmanager
    def _database(self) -> Iterator[Database]:
        name = f"experiment_{next(self._numbers)}"
        owner = urlsplit(self.postgres.url).username
        self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} OWNER {owner}")
        try:
            yield Database(self.postgres.url, name)
        finally:
            self.postgres.start()
            self._drop(name)

    def _drop(self, name: str) -> None:
        # Room for the next experiment; the server may be busy with a recovery still.
        deadline_s = time.monotonic() + _DROPPED_WITHIN_S
        while True:
            try:
                self._execute(f"DROP DATABASE {name} WITH (FORCE)")
            except (OSError, asyncpg.PostgresError):
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(_DROP_AGAIN_S)
            else:
                return

    def _execute(self, statement: str) -> None:
        asyncio.run(_execute(self.postgres.superuser_url, statement))


@contextmanager
def running_stage() -> Iterator[Stage]:
    """Servers that all experiments of a run share, and that end with it."""
    with (
        start_test_postgres(is_durable=True) as postgres,
        start_test_redis() as redis,
        counting_sink() as sink,
        running_network() as network,
        ExitStack() as stack,
    ):
        database = Database(postgres.url, _TEMPLATE)
        asyncio.run(prepare_database(database.owner_url))
        yield Stage(postgres, redis, sink, network, stack)


def _settings_of(providers: Sequence[str]) -> dict[str, str]:
    """What workers need to use them, beside their addresses."""
    settings = {"TALLYPOST_PROVIDERS": ",".join(providers)}
    for name in providers:
        settings |= SETTINGS.get(name, {})
    return settings


def _close(links: Links) -> None:
    for link in links.values():
        link.close()


async def _execute(url: str, statement: str) -> None:
    # Nobody may be connected to a template while it is copied.
    parts = urlsplit(url)
    connection = await asyncpg.connect(parts._replace(path="/postgres").geturl(), timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
