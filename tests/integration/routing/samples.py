"""Accounts as tests store them."""

from uuid import UUID

from tallypost_core.ids import new_id
from tallypost_domain.audit.types import Actor
from tallypost_domain.db.pools import transaction
from tallypost_domain.routing import accounts, standings
from tallypost_domain.routing.accounts import NewAccount
from tallypost_domain.routing.standings import AccountDomain, NewStanding
from tests.support.database import KEY_RING, Database, SeededTenant

ACTOR = Actor("person", new_id())
PASSWORD = "correct-horse-battery"
ACCOUNT = NewAccount(
    name="Own relay",
    provider="smtp",
    settings={"host": "smtp.example.net", "port": 587, "username": "sample"},
    secrets={"password": PASSWORD},
)


async def create(
    database: Database, tenant: SeededTenant, new: NewAccount = ACCOUNT, *, role: str = "tp_console"
) -> UUID:
    """Store an account; returns its id."""
    async with database.session(role, tenant.id) as session:
        return await accounts.create_account(
            session, tenant.id, new, key_ring=KEY_RING, actor=ACTOR
        )


async def break_secrets(database: Database, tenant: SeededTenant) -> None:
    """Let no secret of the tenant's accounts open any more."""
    async with database.session("tp_console", tenant.id) as session:
        connection = await session.connection()
        await connection.exec_driver_sql("UPDATE provider_accounts SET secrets = '\\x00'::bytea")


async def say_platform_has(database: Database, *names: str) -> None:
    """As a worker does that has these accounts."""
    worker_id = new_id()
    async with database.connect("tp_deliver") as connection:
        await connection.execute("INSERT INTO workers (id) VALUES ($1)", worker_id)
    async with database.connect("tp_worker") as connection:
        for name in names:
            await connection.execute(
                "INSERT INTO account_states (worker_id, account, provider, state) "
                "VALUES ($1, $2, $2, 'well')",
                worker_id,
                name,
            )


async def note_standing(
    database: Database,
    tenant: SeededTenant,
    account: str,
    standing: NewStanding,
    *,
    domain_id: UUID | None = None,
) -> None:
    """As a worker does that has asked an account about a domain; the tenant's own unless told."""
    pair = AccountDomain(tenant.id, domain_id or tenant.domain_id, account)
    async with database.pool("tp_worker") as pool:
        async with transaction(pool, [tenant.id]) as connection:
            await connection.execute(
                "INSERT INTO account_domains (tenant_id, domain_id, account) VALUES ($1, $2, $3) "
                "ON CONFLICT (tenant_id, domain_id, account) DO UPDATE SET check_due_at = now()",
                *pair,
            )
        claimed = await standings.claim(pool, pair)
        assert claimed is not None
        await standings.record_standing(pool, claimed, standing)
