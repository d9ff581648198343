-- Row-level security. Two forms, and no blanket one for any role that logs in:
--   one tenant:    app.tenant_id, set for the transaction
--   named tenants: app.tenant_ids, for the roles that work for many tenants in one transaction
-- Unset or empty means no row at all. The sub-select is evaluated once a statement, not per row.

CREATE FUNCTION current_tenant_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT nullif(current_setting('app.tenant_id', true), '')::uuid
$$;

CREATE FUNCTION current_tenant_ids() RETURNS uuid[]
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT nullif(current_setting('app.tenant_ids', true), '')::uuid[]
$$;

GRANT EXECUTE ON FUNCTION current_tenant_id(), current_tenant_ids() TO
    tp_api, tp_accept, tp_deliver, tp_worker, tp_billing, tp_console, tp_templates, tp_bounces,
    tp_inbox, tp_cli, tp_lookup, tp_system;

DO $$
DECLARE
    table_name text;
    tenant_column text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY[
        'tenants', 'tenant_data_keys', 'memberships', 'api_keys', 'audit_log', 'domains',
        'dkim_keys', 'streams', 'suppressions', 'emails', 'recipients', 'email_contents',
        'attempts', 'events', 'idempotency_keys', 'send_queue', 'usage_ledger', 'inbox_messages'
    ] LOOP
        tenant_column := CASE table_name WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END;
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', table_name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', table_name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON %I
                TO tp_api, tp_console, tp_billing, tp_templates, tp_bounces, tp_inbox, tp_cli
                USING (%I = (SELECT current_tenant_id()))
                WITH CHECK (%I = (SELECT current_tenant_id()))',
            table_name, tenant_column, tenant_column
        );
        EXECUTE format(
            'CREATE POLICY named_tenants ON %I TO tp_accept, tp_deliver, tp_worker
                USING (%I = ANY ((SELECT current_tenant_ids())::uuid[]))
                WITH CHECK (%I = ANY ((SELECT current_tenant_ids())::uuid[]))',
            table_name, tenant_column, tenant_column
        );
    END LOOP;
END
$$;

-- Roles that nobody logs in as: they own the functions of 0001_functions.sql and nothing else.
CREATE POLICY lookup ON tenants FOR SELECT TO tp_lookup USING (true);
CREATE POLICY lookup ON api_keys FOR SELECT TO tp_lookup USING (true);
CREATE POLICY lookup ON memberships FOR SELECT TO tp_lookup USING (true);
CREATE POLICY lookup ON emails FOR SELECT TO tp_lookup USING (true);
CREATE POLICY system ON send_queue TO tp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON idempotency_keys TO tp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON inbox_messages TO tp_system USING (true) WITH CHECK (true);
CREATE POLICY system ON tenants FOR SELECT TO tp_system USING (true);

GRANT SELECT (id, status, rate_limit_per_s) ON tenants TO tp_lookup;
GRANT SELECT ON api_keys, memberships, people, sessions TO tp_lookup;
GRANT SELECT (tenant_id, id, mode) ON emails TO tp_lookup;
GRANT UPDATE (last_seen_at) ON sessions TO tp_lookup;
GRANT SELECT ON send_queue, workers TO tp_system;
GRANT SELECT, UPDATE, DELETE ON idempotency_keys, inbox_messages TO tp_system;
GRANT SELECT ON tenants TO tp_system;

GRANT SELECT ON domains, streams, emails, recipients, email_contents TO tp_api;
GRANT UPDATE (status, scheduled_at, updated_at) ON emails TO tp_api;
GRANT UPDATE (status, updated_at) ON recipients TO tp_api;
GRANT INSERT ON events TO tp_api;
GRANT SELECT, DELETE ON send_queue TO tp_api;
GRANT UPDATE (due_at) ON send_queue TO tp_api;

GRANT INSERT ON emails, recipients, email_contents, events, idempotency_keys, send_queue
    TO tp_accept;
GRANT SELECT ON idempotency_keys, suppressions TO tp_accept;

GRANT SELECT ON tenants, tenant_data_keys, domains, dkim_keys, streams, suppressions, emails,
    recipients, email_contents TO tp_deliver;
GRANT UPDATE (status, updated_at) ON emails TO tp_deliver;
GRANT UPDATE (status, provider_message_id, detail, updated_at) ON recipients TO tp_deliver;
GRANT SELECT, INSERT ON attempts TO tp_deliver;
GRANT INSERT ON events, usage_ledger TO tp_deliver;
GRANT SELECT, INSERT, UPDATE, DELETE ON send_queue, workers TO tp_deliver;
GRANT INSERT ON inbox_messages TO tp_deliver;

GRANT SELECT ON tenants, emails, recipients, email_contents, attempts, events, inbox_messages
    TO tp_console;
GRANT INSERT ON sessions TO tp_console;
GRANT SELECT (token_hash) ON sessions TO tp_console;
GRANT UPDATE (active_tenant_id) ON sessions TO tp_console;
GRANT DELETE ON sessions TO tp_console;
GRANT SELECT, INSERT ON audit_log TO tp_console;

GRANT INSERT ON inbox_messages TO tp_inbox;

GRANT SELECT, INSERT, UPDATE ON tenants, tenant_data_keys, people, memberships, api_keys, domains,
    dkim_keys, streams, suppressions TO tp_cli;
GRANT SELECT, INSERT ON audit_log TO tp_cli;
