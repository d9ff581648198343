"""The catalogue has no hole: every tenant-owned table is walled off for every role."""

import asyncpg
import pytest

from tallypost_domain.db.models import METADATA
from tallypost_domain.db.names import PARTITIONED_TABLES, is_partition
from tallypost_domain.db.roles import FUNCTION_OWNERS, LOGIN_ROLES
from tallypost_domain.schema import find_drift
from tests.support.database import TEST_READER, Database, SeededTenant

# Tables that belong to no tenant, and why.
NOT_TENANT_OWNED = {
    "people": "a person may be a member of several tenants",
    "sessions": "belongs to a person",
    "workers": "belongs to the platform",
    "account_states": "how accounts do, as each worker sees them",
    "delivery_samples": "counts of the platform",
    "event_subscribers": "plugins of the platform",
    "alembic_version": "belongs to the migrations",
}

# SECURITY DEFINER functions see past the policies, so the list is closed.
LOOKUPS = {
    "find_api_key",
    "find_person_by_email",
    "find_session",
    "find_email_owner",
    "find_emails_to",
}
SYSTEM_FUNCTIONS = {
    "list_due_tenants",
    "list_abandoned_rows",
    "list_releasable_rows",
    "measure_queue",
    "delete_expired_idempotency_keys",
    "delete_old_inbox_messages",
    "list_tenants_for_operator",
    "count_queue_states",
    "list_due_account_checks",
    "list_due_account_domains",
    "list_due_own_account_domains",
    "list_new_account_domains",
    "feed_subscribers",
    "list_due_event_deliveries",
    "count_event_deliveries",
    "list_event_subscribers",
    "retry_dead_event_deliveries",
    "forget_event_subscriber",
}
DDL_FUNCTIONS = {"create_partitions"}


async def _fetch(database: Database, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.owner_url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


def _tenant_tables() -> list[str]:
    return sorted(set(METADATA.tables) - set(NOT_TENANT_OWNED))


async def test_models_and_migrations_agree(database: Database) -> None:
    assert await find_drift(database.owner_url) == []


async def test_every_table_is_known_to_be_tenant_owned_or_not(database: Database) -> None:
    rows = await _fetch(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    tables = {row["tablename"] for row in rows if not is_partition(row["tablename"])}
    assert tables == set(METADATA.tables) | set(NOT_TENANT_OWNED)


async def test_every_tenant_table_enables_and_forces_row_level_security(
    database: Database,
) -> None:
    rows = await _fetch(
        database,
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relname = ANY ($1)",
        _tenant_tables(),
    )
    assert len(rows) == len(_tenant_tables())
    assert [
        r["relname"] for r in rows if not (r["relrowsecurity"] and r["relforcerowsecurity"])
    ] == []


async def test_every_tenant_key_starts_with_the_tenant(database: Database) -> None:
    rows = await _fetch(
        database,
        "SELECT c.relname, i.indisunique, a.attname, i.indexrelid::regclass::text AS index "
        "FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] "
        "WHERE c.relname = ANY ($1) AND i.indisunique",
        _tenant_tables(),
    )
    allowed = {
        # A key hash is 256 bits of secret; a verified name is unique across tenants on purpose.
        "uq_api_keys_key_hash",
        "uq_domains_name_verified",
        "pk_tenants",
    }
    assert {r["index"] for r in rows if r["attname"] != "tenant_id"} == allowed


async def test_no_policy_lets_a_login_role_see_past_its_tenants(database: Database) -> None:
    rows = await _fetch(
        database,
        "SELECT tablename, policyname, roles::text[] AS roles, qual, with_check "
        # The role with which tests read does not exist in a product's database.
        "FROM pg_policies WHERE schemaname = 'public' AND roles <> ARRAY[$1::name]",
        TEST_READER,
    )
    assert {row["tablename"] for row in rows} == set(_tenant_tables())
    for row in rows:
        blanket = "true" in (row["qual"], row["with_check"])
        if blanket:
            assert set(row["roles"]) <= set(FUNCTION_OWNERS), row
        else:
            assert set(row["roles"]) <= set(LOGIN_ROLES), row
            assert "current_tenant_id" in row["qual"], row
            assert "current_tenant_id" in row["with_check"], row
        # An index that answered it would make plans that walk a tenant's rows; see 0004_policies.
        assert (row["policyname"] == "named_tenants") == row["qual"].endswith("IS TRUE)"), row


async def test_no_role_is_above_the_policies(database: Database) -> None:
    rows = await _fetch(
        database,
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin "
        "FROM pg_roles WHERE rolname = ANY ($1)",
        [*LOGIN_ROLES, *FUNCTION_OWNERS],
    )
    assert len(rows) == len(LOGIN_ROLES) + len(FUNCTION_OWNERS)
    for row in rows:
        above = ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb")
        assert [name for name in above if row[name]] == [], row
        assert row["rolcanlogin"] == (row["rolname"] in LOGIN_ROLES), row


async def test_no_login_role_is_a_member_of_another_role(database: Database) -> None:
    rows = await _fetch(
        database,
        "SELECT pg_get_userbyid(member) AS member, pg_get_userbyid(roleid) AS role "
        "FROM pg_auth_members WHERE pg_get_userbyid(member) = ANY ($1)",
        list(LOGIN_ROLES),
    )
    assert rows == []


async def test_nobody_is_granted_a_partition(database: Database) -> None:
    rows = await _fetch(
        database,
        "SELECT table_name, grantee FROM information_schema.role_table_grants "
        "WHERE table_schema = 'public' AND grantee = ANY ($1)",
        [*LOGIN_ROLES, *FUNCTION_OWNERS],
    )
    assert rows, "the grants of the parents are visible"
    assert [r for r in rows if is_partition(r["table_name"])] == []


async def test_nothing_is_granted_to_everybody(database: Database) -> None:
    tables = await _fetch(
        database,
        "SELECT table_name FROM information_schema.role_table_grants "
        "WHERE table_schema = 'public' AND grantee = 'PUBLIC'",
    )
    functions = await _fetch(
        database,
        "SELECT p.proname FROM pg_proc p, aclexplode(coalesce(p.proacl, "
        "acldefault('f', p.proowner))) a "
        "WHERE p.pronamespace = 'public'::regnamespace AND a.grantee = 0",
    )
    assert (tables, functions) == ([], [])


async def test_functions_that_see_past_the_policies_are_a_closed_list(database: Database) -> None:
    rows = await _fetch(
        database,
        "SELECT proname, pg_get_userbyid(proowner) AS owner, proconfig FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace AND prosecdef",
    )
    owned: dict[str, set[str]] = {}
    for row in rows:
        owned.setdefault(row["owner"], set()).add(row["proname"])
        # Without a fixed search_path a caller could slip in a table of its own.
        assert any(setting.startswith("search_path=pg_catalog") for setting in row["proconfig"])
    assert owned.pop("tp_lookup") == LOOKUPS
    assert owned.pop("tp_system") == SYSTEM_FUNCTIONS
    (rest,) = owned.values()
    assert rest == DDL_FUNCTIONS


@pytest.mark.parametrize("role", LOGIN_ROLES)
async def test_without_a_tenant_a_role_sees_no_row_of_any_tenant_table(
    database: Database, two_tenants: tuple[SeededTenant, SeededTenant], role: str
) -> None:
    assert two_tenants
    granted = await _fetch(
        database,
        "SELECT DISTINCT table_name FROM information_schema.column_privileges "
        "WHERE table_schema = 'public' AND grantee = $1 AND privilege_type = 'SELECT'",
        role,
    )
    tables = {row["table_name"] for row in granted} & set(_tenant_tables())
    async with database.connect(role) as connection:
        for table in tables:
            # count(*) needs no column, so it also works where only some columns are granted.
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608 - names from the catalogue


async def test_partitions_reach_four_weeks_ahead(database: Database) -> None:
    async with database.connect("tp_worker") as connection:
        created = await connection.fetchval("SELECT create_partitions(6)")
        again = await connection.fetchval("SELECT create_partitions(6)")
    assert created == 2 * len(PARTITIONED_TABLES)
    assert again == 0
