"""The product under measurement: its own programs, on a database and servers of this run.

Each program is what production runs: `python -m tallypost_api`, `python -m tallypost_worker`, with
an environment that holds nothing but its settings.
"""

import asyncio
import base64
import http.client
import os
import secrets
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
from msgspec import Struct

from bench.children import Child, Children
from bench.servers import Postgres
from tallypost_cli.environment import base_environment, role_url
from tallypost_cli.ports import find_free_port
from tallypost_core.crypto import KeyRing
from tallypost_core.ids import new_id
from tallypost_domain.api_keys import service as api_keys
from tallypost_domain.db import migrate, roles, sessions
from tallypost_domain.db.pools import Connection
from tallypost_domain.domains import service as domains
from tallypost_domain.tenants import service as tenants
from tallypost_providers.dkim import Algorithm, generate_keypair

T = TypeVar("T")

_HOST = "127.0.0.1"
_READY_WITHIN_S = 60.0
# Beyond what one machine sends, so that nobody measures the limiter by mistake.
_RATE_LIMIT_PER_S = 1_000_000.0


class Sender(Struct, frozen=True):
    """A tenant that may send."""

    tenant_id: UUID
    domain: str
    token: str
    """A live API key."""

    @property
    def address(self) -> str:
        """An address that it may write from."""
        return f"hello@{self.domain}"


class API(Struct, frozen=True):
    """A running API process."""

    child: Child
    port: int


class Cluster:
    """Databases on one server, each a copy of a migrated one."""

    def __init__(self, postgres: Postgres, redis_url: str, children: Children) -> None:
        self.postgres = postgres
        self.redis_url = redis_url
        self.children = children
        self._passwords = {role: secrets.token_hex(16) for role in roles.LOGIN_ROLES}
        self._template = urlsplit(postgres.owner_url).path.removeprefix("/")

    def migrate(self) -> None:
        """Bring the template to the newest schema and open the roles' logins."""
        asyncio.run(migrate.upgrade(self.postgres.owner_url))
        asyncio.run(roles.set_passwords(self.postgres.owner_url, self._passwords))

    @contextmanager
    def database(self, name: str, folder: Path) -> Iterator["Platform"]:
        """A migrated database of its own, with nobody in it; gone after the block."""
        owner = urlsplit(self.postgres.owner_url).username
        with self.empty_database(name, f"TEMPLATE {self._template} OWNER {owner}"):
            yield Platform(self, name, self._passwords, folder)

    @contextmanager
    def empty_database(self, name: str, options: str = "TEMPLATE template0") -> Iterator[str]:
        """A database for somebody else's tables; yields the superuser's address of it."""
        self._as_superuser(f"CREATE DATABASE {name} {options}")
        try:
            yield with_database(self.postgres.superuser_url, name)
        finally:
            self._as_superuser(f"DROP DATABASE {name} WITH (FORCE)")

    def _as_superuser(self, statement: str) -> None:
        execute(with_database(self.postgres.superuser_url, "postgres"), statement)


class Platform:
    """The product on one database."""

    def __init__(
        self, cluster: Cluster, database: str, passwords: Mapping[str, str], folder: Path
    ) -> None:
        self.cluster = cluster
        self.superuser_url = with_database(cluster.postgres.superuser_url, database)
        self._owner_url = with_database(cluster.postgres.owner_url, database)
        self._passwords = passwords
        self._objects = folder / "objects"
        self._ring = f"bench:{base64.b64encode(secrets.token_bytes(32)).decode()}"
        self._peppers = f"bench:{base64.b64encode(secrets.token_bytes(32)).decode()}"

    def url(self, role: str) -> str:
        """The address of a role's login."""
        return role_url(self._owner_url, role, self._passwords[role])

    def add_sender(self, domain: str, algorithms: Sequence[Algorithm] = ("rsa-sha256",)) -> Sender:
        """A tenant with a verified domain that signs with these algorithms, and a live key."""
        return asyncio.run(self._add_sender(domain, algorithms))

    @contextmanager
    def api(self) -> Iterator[API]:
        """One API process, ready."""
        port = find_free_port()
        environment = self._environment("tp_api", "tp_accept") | {"TALLYPOST_API_PORT": str(port)}
        with self._running("api", "tallypost_api", environment, port) as child:
            yield API(child, port)

    @contextmanager
    def workers(self, count: int, smtp_port: int, **settings: str) -> Iterator[list[Child]]:
        """Workers that hand over to a local SMTP server, ready.

        settings are further variables of their environment.
        """
        with ExitStack() as stack:
            yield [
                stack.enter_context(self._worker(number, smtp_port, settings))
                for number in range(1, count + 1)
            ]

    def execute(self, statement: str, *arguments: object) -> None:
        """Run a statement past row-level security: for preparing, never for what is measured."""
        execute(self.superuser_url, statement, *arguments)

    def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of all tenants, read past row-level security."""
        return asyncio.run(_fetch(self.superuser_url, query, *arguments))

    def count(self, query: str, *arguments: object) -> int:
        """The single number that a query gives."""
        return int(self.fetch(query, *arguments)[0][0])

    def forget_emails(self) -> None:
        """Empty every table that holds what was sent; tenants and keys stay. No worker may run."""
        self.execute(
            "TRUNCATE emails, recipients, email_contents, attempts, events, idempotency_keys, "
            "send_queue, usage_ledger CASCADE"
        )

    async def _add_sender(self, domain: str, algorithms: Sequence[Algorithm]) -> Sender:
        ring, peppers = KeyRing.from_setting(self._ring), KeyRing.from_setting(self._peppers)
        engine = sessions.create_engine(self.url("tp_cli"), app="bench")
        tenant_id = new_id()
        try:
            makers = sessions.create_session_maker(engine)
            async with sessions.tenant_session(makers, tenant_id) as session:
                await tenants.create_tenant(
                    session,
                    tenant_id,
                    name="Sample tenant",
                    key_ring=ring,
                    rate_limit_per_s=_RATE_LIMIT_PER_S,
                )
                data_key = await tenants.get_data_key(session, tenant_id, ring)
                domain_id = await domains.add_domain(session, tenant_id, domain)
                for number, algorithm in enumerate(algorithms, start=1):
                    private_key, public_key = generate_keypair(algorithm)
                    await domains.create_dkim_key(
                        session,
                        tenant_id,
                        domain_id,
                        selector=f"tp{number}",
                        algorithm=algorithm,
                        private_key=private_key,
                        public_key=public_key,
                        data_key=data_key,
                    )
                await domains.mark_verified(session, tenant_id, domain_id)
                key = await api_keys.create_key(
                    session, tenant_id, mode="live", name="bench", peppers=peppers
                )
        finally:
            await engine.dispose()
        return Sender(tenant_id, domain, key.token)

    def _environment(self, *logins: str) -> dict[str, str]:
        urls = {
            f"TALLYPOST_DATABASE_{login.removeprefix('tp_').upper()}_URL": self.url(login)
            for login in logins
        }
        return (
            base_environment(os.environ)
            | urls
            | {
                "TALLYPOST_REDIS_URL": self.cluster.redis_url,
                "TALLYPOST_SECRETS_KEY_RING": self._ring,
                "TALLYPOST_SECRETS_PEPPERS": self._peppers,
                "TALLYPOST_OBJECTS_URL": self._objects.as_uri(),
            }
        )

    @contextmanager
    def _worker(self, number: int, smtp_port: int, settings: Mapping[str, str]) -> Iterator[Child]:
        port = find_free_port()
        environment = self._environment("tp_deliver", "tp_worker") | {
            "TALLYPOST_SMTP_HOST": _HOST,
            "TALLYPOST_SMTP_PORT": str(smtp_port),
            "TALLYPOST_SMTP_SECURITY": "none",
            "TALLYPOST_WORKER_PORT": str(port),
            **settings,
        }
        with self._running(f"worker-{number}", "tallypost_worker", environment, port) as child:
            yield child

    @contextmanager
    def _running(
        self, name: str, module: str, environment: Mapping[str, str], port: int
    ) -> Iterator[Child]:
        # -P and the folder: what lies in the checkout is not importable, as in production.
        with self.cluster.children.running(
            name, [sys.executable, "-P", "-m", module], environment=environment, cwd=Path("/")
        ) as child:
            child.wait_until(
                lambda: _is_ready(port), within_s=_READY_WITHIN_S, what=f"{name} is ready"
            )
            yield child


def with_database(url: str, name: str) -> str:
    """The same server and login, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def execute(url: str, statement: str, *arguments: object) -> None:
    """Run one statement on a connection of its own."""
    asyncio.run(_execute(url, statement, *arguments))


def connected(url: str, function: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function with a connection, which is closed afterwards."""

    async def run() -> T:
        connection = await asyncpg.connect(url)
        try:
            return await function(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


async def _execute(url: str, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def _fetch(url: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
