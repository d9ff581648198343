"""What each role may do, word for word: a grant that widens, or is used by nobody, shows here."""

import asyncpg

from tallypost_domain.db.roles import FUNCTION_OWNERS, LOGIN_ROLES
from tests.support.database import TEST_READER, Database

# Privileges of a table in alphabetical order; in brackets the columns, where not all are granted.
TABLES: dict[str, dict[str, str]] = {
    "tp_accept": {
        "email_contents": "INSERT",
        "emails": "INSERT",
        "events": "INSERT",
        "idempotency_keys": "INSERT, SELECT",
        "quota_counters": "INSERT, SELECT, UPDATE (granted)",
        "quota_leases": "DELETE, INSERT, SELECT, UPDATE (spent, units, used_at)",
        "recipients": "INSERT",
        "send_queue": "INSERT",
        "suppressions": "SELECT",
        "tenants": "SELECT (id, monthly_quota)",
    },
    "tp_api": {
        "account_domains": "DELETE, SELECT, UPDATE (check_due_at)",
        "account_states": "SELECT",
        "account_troubles": "SELECT",
        "attempts": "SELECT",
        "audit_log": "INSERT, SELECT",
        "domains": "SELECT",
        "email_contents": "SELECT",
        "emails": "SELECT, UPDATE (scheduled_at, status, updated_at)",
        "events": "INSERT, SELECT",
        "provider_accounts": "DELETE, INSERT, SELECT, UPDATE",
        "recipients": "SELECT, UPDATE (status, updated_at)",
        "requeue_fences": "USAGE",
        "routes": "DELETE, INSERT, SELECT, UPDATE",
        "send_queue": "DELETE, SELECT, UPDATE (attempt, due_at, fence, state)",
        "streams": "SELECT",
        "suppressions": "SELECT (address_hash, mode, tenant_id)",
        "tenant_data_keys": "SELECT",
        "tenants": "SELECT (id, status)",
        "usage_ledger": "INSERT",
        "workers": "SELECT (beat_at, id)",
    },
    "tp_cli": {
        "api_keys": "INSERT, SELECT, UPDATE",
        "audit_log": "INSERT, SELECT",
        "dkim_keys": "INSERT, SELECT, UPDATE",
        "domains": "INSERT, SELECT, UPDATE",
        "memberships": "INSERT, SELECT, UPDATE",
        "people": "INSERT, SELECT, UPDATE",
        "streams": "INSERT, SELECT, UPDATE",
        "suppressions": "INSERT, SELECT, UPDATE",
        "tenant_data_keys": "INSERT, SELECT, UPDATE",
        "tenants": "INSERT, SELECT, UPDATE",
    },
    "tp_console": {
        "account_domains": "DELETE, SELECT, UPDATE (check_due_at)",
        "account_states": "SELECT",
        "account_troubles": "SELECT",
        "api_keys": (
            "INSERT, SELECT (created_at, id, last_four, mode, name, permission, prefix, "
            "rate_limit_per_s, revoked_at, stream, tenant_id), UPDATE (revoked_at)"
        ),
        "attempts": "SELECT",
        "audit_log": "INSERT, SELECT",
        "dead_letters": "DELETE, SELECT",
        "delivery_samples": "SELECT",
        "domains": "SELECT (id, name, status, tenant_id)",
        "email_contents": "SELECT",
        "emails": "SELECT, UPDATE (status, updated_at)",
        "events": "INSERT, SELECT",
        "inbox_messages": "SELECT",
        "provider_accounts": "DELETE, INSERT, SELECT, UPDATE",
        "recipients": "SELECT, UPDATE (status, updated_at)",
        "requeue_fences": "USAGE",
        "routes": "DELETE, INSERT, SELECT, UPDATE",
        "send_queue": (
            "DELETE, INSERT (email_id, fence, lane, tenant_id), SELECT (attempt, due_at, email_id, "
            "fence, lane, state, tenant_id, worker_id), UPDATE (attempt, due_at, fence, state)"
        ),
        "sessions": "DELETE, INSERT, SELECT (token_hash), UPDATE (active_tenant_id)",
        "streams": "SELECT (name, on_unconfirmed, tenant_id)",
        "suppressions": "SELECT (address_hash, mode, tenant_id)",
        "tenant_data_keys": "SELECT",
        "tenants": "SELECT",
        "usage_ledger": "INSERT",
        "workers": "SELECT",
    },
    "tp_deliver": {
        "account_domains": "SELECT",
        "attempts": "INSERT, SELECT",
        "dead_letters": "INSERT",
        "dkim_keys": "SELECT",
        "domains": "SELECT",
        "email_contents": "SELECT",
        "emails": "SELECT, UPDATE (status, updated_at)",
        "events": "INSERT",
        "inbox_messages": "INSERT",
        "provider_accounts": "SELECT",
        "recipients": "SELECT, UPDATE (detail, provider_message_id, status, updated_at)",
        "routes": "SELECT",
        "send_queue": "DELETE, INSERT, SELECT, UPDATE",
        "streams": "SELECT",
        "suppressions": "SELECT",
        "tenant_data_keys": "SELECT",
        "tenants": "SELECT",
        "usage_ledger": "INSERT",
        "workers": "DELETE, INSERT, SELECT, UPDATE",
    },
    "tp_inbox": {"inbox_messages": "INSERT"},
    "tp_lookup": {
        "api_keys": "SELECT",
        "emails": "SELECT (id, mode, tenant_id)",
        "memberships": "SELECT",
        "people": "SELECT",
        "recipients": "SELECT (address, email_id, mode, tenant_id)",
        "sessions": "SELECT, UPDATE (last_seen_at)",
        "tenants": "SELECT (id, rate_limit_per_s, status)",
    },
    "tp_system": {
        "account_domains": "SELECT (account, check_due_at, domain_id, tenant_id)",
        "dead_letters": "SELECT",
        "domains": "SELECT (id, status, tenant_id)",
        "event_deliveries": (
            "DELETE, INSERT (event_id, subject_id, subscriber, tenant_id), SELECT, "
            "UPDATE (attempt, due_at, state)"
        ),
        "event_subscribers": "DELETE, SELECT, UPDATE (seen_at)",
        "idempotency_keys": "DELETE, SELECT, UPDATE",
        "inbox_messages": "DELETE, SELECT, UPDATE",
        "provider_accounts": "SELECT (check_due_at, id, is_on, provider, tenant_id)",
        "send_queue": "SELECT",
        "tenants": "SELECT",
        "workers": "SELECT",
    },
    "tp_worker": {
        "account_domains": "DELETE, INSERT, SELECT, UPDATE",
        "account_states": "INSERT, SELECT, UPDATE",
        "account_troubles": "DELETE, INSERT, SELECT, UPDATE",
        "delivery_samples": "DELETE, INSERT, SELECT",
        "domains": "SELECT (id, name, status, tenant_id)",
        "event_deliveries": (
            "DELETE, SELECT, UPDATE (attempt, due_at, last_error, state, under_way)"
        ),
        "event_subscribers": "INSERT, SELECT, UPDATE",
        "events": "SELECT",
        "provider_accounts": (
            "SELECT (changed_at, check_due_at, id, tenant_id), "
            "UPDATE (check_due_at, check_steps, checked_at)"
        ),
        "workers": "SELECT (id)",
    },
}

FUNCTIONS: dict[str, set[str]] = {
    "tp_accept": {"accept_emails", "spread"},
    "tp_api": {"find_api_key", "policy_of_unconfirmed"},
    "tp_cli": {
        "find_person_by_email",
        "forget_event_subscriber",
        "list_event_subscribers",
        "retry_dead_event_deliveries",
    },
    "tp_console": {
        "count_queue_states",
        "find_emails_to",
        "find_person_by_email",
        "find_session",
        "list_tenants_for_operator",
        "measure_queue",
        "policy_of_unconfirmed",
    },
    "tp_deliver": {
        "claim_rows",
        "find_suppressed",
        "list_abandoned_rows",
        "list_due_tenants",
        "list_releasable_rows",
        "load_emails",
        "measure_queue",
        "policy_of_unconfirmed",
        "record_settlements",
        "spread",
    },
    "tp_inbox": {"find_email_owner"},
    "tp_worker": {
        "count_event_deliveries",
        "create_partitions",
        "delete_expired_idempotency_keys",
        "delete_old_inbox_messages",
        "list_due_account_checks",
        "list_due_account_domains",
        "list_due_event_deliveries",
        "list_due_own_account_domains",
        "list_new_account_domains",
    },
}
# The policies of every table ask these two.
OF_EVERY_ROLE = {"current_tenant_id", "current_tenant_ids"}

# The reader exists in databases of tests only; the owner may do everything.
_TABLE_GRANTS = """
    WITH granted AS (
        SELECT c.relname, a.grantee, a.privilege_type, NULL::name AS attname
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
        UNION ALL
        SELECT c.relname, a.grantee, a.privilege_type, t.attname
        FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
        WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
    )
    SELECT grantee::regrole::text AS role, relname::text AS table_name,
           privilege_type || coalesce(
               ' (' || string_agg(attname, ', ' ORDER BY attname) || ')', '') AS privilege
    FROM granted
    WHERE grantee::regrole::text <> $1
    GROUP BY grantee, relname, privilege_type
    ORDER BY role, table_name, privilege
"""
_FUNCTION_GRANTS = """
    SELECT a.grantee::regrole::text AS role, p.proname::text AS function_name
    FROM pg_proc p, aclexplode(p.proacl) a
    WHERE p.pronamespace = 'public'::regnamespace AND a.grantee <> p.proowner
      AND a.grantee::regrole::text <> $1
"""


async def _fetch(database: Database, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.owner_url)
    try:
        return list(await connection.fetch(query, TEST_READER))
    finally:
        await connection.close()


async def test_each_role_has_these_privileges_on_tables_and_no_other(database: Database) -> None:
    granted: dict[str, dict[str, str]] = {}
    for row in await _fetch(database, _TABLE_GRANTS):
        tables = granted.setdefault(row["role"], {})
        before = tables.get(row["table_name"])
        tables[row["table_name"]] = ", ".join(filter(None, (before, row["privilege"])))
    assert granted == TABLES


async def test_each_role_may_call_these_functions_and_no_other(database: Database) -> None:
    granted: dict[str, set[str]] = {}
    for row in await _fetch(database, _FUNCTION_GRANTS):
        granted.setdefault(row["role"], set()).add(row["function_name"])
    assert granted == {
        role: FUNCTIONS.get(role, set()) | OF_EVERY_ROLE
        for role in (*LOGIN_ROLES, *FUNCTION_OWNERS)
    }
