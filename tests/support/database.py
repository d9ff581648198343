"""A migrated database for each test, and two tenants in it.

The schema is migrated once a session into a template; each test gets a clone of it and logs in
with the roles that the processes use. What no process may read, a test reads as TEST_READER.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import pytest
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.crypto import KeyRing
from tallypost_core.ids import new_id
from tallypost_domain.api_keys import service as api_keys
from tallypost_domain.api_keys.types import CreatedKey
from tallypost_domain.db import migrate, roles, sessions
from tallypost_domain.db.pools import Connection, Pool, create_pool
from tallypost_domain.domains import service as domains
from tallypost_domain.tenants import service as tenants
from tallypost_providers.dkim import generate_keypair
from tests.support.backends import PostgresLogins, start_postgres

RING_SETTING = "test:" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
PEPPER_SETTING = "test:" + "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
KEY_RING = KeyRing.from_setting(RING_SETTING)
PEPPERS = KeyRing.from_setting(PEPPER_SETTING)

TEST_READER = "test_reader"
"""A login role that exists in databases of tests only: reads every table, within one tenant."""

# Tables, and the column of each that names its tenant. Without partitions: a grant on one would
# go round the policy of its parent.
_TENANT_COLUMNS = """
    SELECT c.relname::text AS name, (
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid
          AND a.attname = CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END
    ) AS tenant_column
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition
"""

_ROLE_PASSWORD = "role-password-of-the-tests"
# Key pairs cost seconds on a slow machine; the tests of signing make their own.
_RSA = generate_keypair("rsa-sha256")
_ED25519 = generate_keypair("ed25519-sha256")


class Database:
    """One migrated database and the addresses by which each role logs in."""

    def __init__(self, owner_url: str, name: str) -> None:
        self.name = name
        self.owner_url = with_database(owner_url, name)

    def url(self, role: str) -> str:
        """The address of a role's login."""
        parts = urlsplit(self.owner_url)
        host = f"{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=f"{role}:{_ROLE_PASSWORD}@{host}"))

    @asynccontextmanager
    async def connect(self, role: str) -> AsyncIterator[Connection]:
        """A raw connection of a role, no tenant set."""
        connection = await asyncpg.connect(self.url(role))
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def pool(self, role: str, size: int = 5) -> AsyncIterator[Pool]:
        """A raw pool of a role, as the hot path uses it."""
        pool = await create_pool(self.url(role), size=size, app="test")
        try:
            yield pool
        finally:
            await pool.close()

    @asynccontextmanager
    async def sessions(self, role: str) -> AsyncIterator[sessions.SessionMaker]:
        """Sessions of a role."""
        engine = sessions.create_engine(self.url(role), app="test")
        try:
            yield sessions.create_session_maker(engine)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def session(self, role: str, tenant_id: UUID) -> AsyncIterator[AsyncSession]:
        """One transaction of a role in a tenant."""
        async with (
            self.sessions(role) as makers,
            sessions.tenant_session(makers, tenant_id) as session,
        ):
            yield session


class SeededTenant(Struct, frozen=True):
    """A tenant of the tests."""

    id: UUID
    domain: str
    domain_id: UUID
    live_key: CreatedKey
    test_key: CreatedKey
    sending_key: CreatedKey
    """A live key that may only send."""


def with_database(url: str, name: str) -> str:
    """The same server and login, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresLogins]:
    """A server that lives as long as the test session."""
    with start_postgres() as logins:
        yield logins


@pytest.fixture(scope="session")
def template_database(postgres: PostgresLogins) -> str:
    """Name of a migrated database that nobody connects to."""
    name = f"template_{secrets.token_hex(4)}"
    asyncio.run(_make_template(postgres, name))
    return name


@pytest.fixture
async def database(postgres: PostgresLogins, template_database: str) -> AsyncIterator[Database]:
    """A database of this test alone."""
    name = f"test_{secrets.token_hex(6)}"
    owner = urlsplit(postgres.owner_url).username
    await _execute(
        postgres.superuser_url,
        f"CREATE DATABASE {name} TEMPLATE {template_database} OWNER {owner}",
    )
    try:
        yield Database(postgres.owner_url, name)
    finally:
        await _execute(postgres.superuser_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def two_tenants(database: Database) -> tuple[SeededTenant, SeededTenant]:
    """Two tenants, each with a verified domain, DKIM keys and API keys."""
    async with database.sessions("tp_cli") as makers:
        return (
            await seed_tenant(makers, "First sample tenant", "example.com"),
            await seed_tenant(makers, "Second sample tenant", "example.org"),
        )


@pytest.fixture
def tenant(two_tenants: tuple[SeededTenant, SeededTenant]) -> SeededTenant:
    """The first of the two tenants."""
    return two_tenants[0]


@pytest.fixture
def other_tenant(two_tenants: tuple[SeededTenant, SeededTenant]) -> SeededTenant:
    """The second of the two tenants."""
    return two_tenants[1]


async def seed_tenant(makers: sessions.SessionMaker, name: str, domain: str) -> SeededTenant:
    """A tenant that can send from `domain` at any rate; makers log in as tp_cli."""
    tenant_id = new_id()
    async with sessions.tenant_session(makers, tenant_id) as session:
        await tenants.create_tenant(
            session, tenant_id, name=name, key_ring=KEY_RING, rate_limit_per_s=100_000
        )
        data_key = await tenants.get_data_key(session, tenant_id, KEY_RING)
        domain_id = await domains.add_domain(session, tenant_id, domain)
        for selector, algorithm, (private_key, public_key) in (
            ("tp1", "rsa-sha256", _RSA),
            ("tp2", "ed25519-sha256", _ED25519),
        ):
            await domains.create_dkim_key(
                session,
                tenant_id,
                domain_id,
                selector=selector,
                algorithm=algorithm,
                private_key=private_key,
                public_key=public_key,
                data_key=data_key,
            )
        await domains.mark_verified(session, tenant_id, domain_id)
        return SeededTenant(
            id=tenant_id,
            domain=domain,
            domain_id=domain_id,
            live_key=await api_keys.create_key(
                session, tenant_id, mode="live", name="live", peppers=PEPPERS
            ),
            test_key=await api_keys.create_key(
                session, tenant_id, mode="test", name="test", peppers=PEPPERS
            ),
            sending_key=await api_keys.create_key(
                session,
                tenant_id,
                mode="live",
                name="sending",
                permission="sending_access",
                peppers=PEPPERS,
            ),
        )


def dkim_public_keys() -> dict[str, str]:
    """Public keys of the seeded tenants by selector, as in DNS."""
    return {"tp1": _RSA[1], "tp2": _ED25519[1]}


async def prepare_database(owner_url: str) -> None:
    """Migrate an empty database and give every role its login."""
    await migrate.upgrade(owner_url)
    await roles.set_passwords(owner_url, dict.fromkeys(roles.LOGIN_ROLES, _ROLE_PASSWORD))
    await _create_reader(owner_url)


async def _create_reader(owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    try:
        # Roles belong to the cluster, so another database of it may have made this one already.
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", TEST_READER):
            await connection.execute(
                f"CREATE ROLE {TEST_READER} LOGIN NOSUPERUSER NOBYPASSRLS "
                f"PASSWORD '{_ROLE_PASSWORD}'"
            )
        await connection.execute(f"GRANT EXECUTE ON FUNCTION current_tenant_id() TO {TEST_READER}")
        for table, column in await connection.fetch(_TENANT_COLUMNS):
            await connection.execute(f"GRANT SELECT ON {table} TO {TEST_READER}")
            if column is not None:
                await connection.execute(
                    f"CREATE POLICY {TEST_READER} ON {table} FOR SELECT TO {TEST_READER} "
                    f"USING ({column} = (SELECT current_tenant_id()))"
                )
    finally:
        await connection.close()


async def _make_template(postgres: PostgresLogins, name: str) -> None:
    owner = urlsplit(postgres.owner_url).username
    await _execute(postgres.superuser_url, f"CREATE DATABASE {name} OWNER {owner}")
    await prepare_database(with_database(postgres.owner_url, name))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
