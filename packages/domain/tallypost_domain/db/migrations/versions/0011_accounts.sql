-- Accounts that tenants have at providers themselves, by which routes mail goes to which account, and
-- where sending domains stand at accounts.
CREATE TABLE provider_accounts (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    provider text NOT NULL,
    -- What the provider is set to, but for what is secret.
    settings jsonb NOT NULL,
    -- The rest, encrypted with the tenant's data key for this very row.
    secrets bytea NOT NULL,
    -- Which settings those are, to show that they are set.
    secret_names text[] NOT NULL,
    is_on boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When its settings or secrets last changed: a worker makes the account anew then.
    changed_at timestamptz NOT NULL DEFAULT now(),
    -- When somebody asked for a check that no worker has begun.
    check_due_at timestamptz,
    -- Of the last check that ended, and what each of its steps found.
    checked_at timestamptz,
    check_steps jsonb NOT NULL DEFAULT '[]',
    CONSTRAINT pk_provider_accounts PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_provider_accounts_tenant_id_tenants FOREIGN KEY (tenant_id)
        REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT uq_provider_accounts_tenant_id_name UNIQUE (tenant_id, name)
);
CREATE INDEX ix_provider_accounts_check_due_at ON provider_accounts (check_due_at)
    WHERE check_due_at IS NOT NULL;

-- The first route that fits an email, in the order of their positions, names its accounts.
CREATE TABLE routes (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    position integer NOT NULL,
    -- What is NULL is not looked at.
    domain_id uuid,
    lane text,
    tag_name text,
    tag_value text,
    share double precision NOT NULL DEFAULT 1,
    -- Best first: ids of the tenant's accounts, `platform` for all of the platform's, or `platform:`
    -- and the name of one.
    accounts text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_routes PRIMARY KEY (tenant_id, id),
    CONSTRAINT uq_routes_tenant_id_position UNIQUE (tenant_id, position)
        DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT fk_routes_tenant_id_tenants FOREIGN KEY (tenant_id)
        REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT fk_routes_tenant_id_domain_id_domains FOREIGN KEY (tenant_id, domain_id)
        REFERENCES domains (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT ck_routes_lane CHECK (lane IN ('transactional', 'bulk')),
    CONSTRAINT ck_routes_share CHECK (share > 0 AND share <= 1),
    CONSTRAINT ck_routes_tag CHECK (tag_value IS NULL OR tag_name IS NOT NULL),
    CONSTRAINT ck_routes_accounts CHECK (cardinality(accounts) BETWEEN 1 AND 10)
);

-- Where a sending domain stands at an account whose provider has to know it: the platform's accounts
-- by their names, tenants' own by their ids. No row means that nobody has asked yet.
CREATE TABLE account_domains (
    tenant_id uuid NOT NULL,
    domain_id uuid NOT NULL,
    account text NOT NULL,
    -- `unknown`: the provider was asked and did not say.
    status text NOT NULL DEFAULT 'unknown',
    -- What the provider wants to see in the DNS.
    records jsonb NOT NULL DEFAULT '[]',
    detail text NOT NULL DEFAULT '',
    checked_at timestamptz,
    check_due_at timestamptz NOT NULL DEFAULT now(),
    -- Checks since the domain last was verified here; the time between two grows with it.
    checks integer NOT NULL DEFAULT 0,
    CONSTRAINT pk_account_domains PRIMARY KEY (tenant_id, domain_id, account),
    CONSTRAINT fk_account_domains_tenant_id_domain_id_domains FOREIGN KEY (tenant_id, domain_id)
        REFERENCES domains (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT ck_account_domains_status CHECK (status IN ('unknown', 'verified', 'unverified'))
);
CREATE INDEX ix_account_domains_check_due_at ON account_domains (check_due_at);

-- Tenants' accounts that a worker asks nothing at the moment, as it sees them. One that takes mail has
-- no row.
CREATE TABLE account_troubles (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    worker_id uuid NOT NULL,
    state text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    asked_again_at timestamptz,
    CONSTRAINT pk_account_troubles PRIMARY KEY (tenant_id, account_id, worker_id),
    CONSTRAINT fk_account_troubles_tenant_id_account_id_provider_accounts
        FOREIGN KEY (tenant_id, account_id)
        REFERENCES provider_accounts (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT fk_account_troubles_worker_id_workers FOREIGN KEY (worker_id)
        REFERENCES workers (id) ON DELETE CASCADE,
    CONSTRAINT ck_account_troubles_state CHECK (state IN ('paused', 'open', 'half_open'))
);
CREATE INDEX ix_account_troubles_worker_id ON account_troubles (worker_id);

DO $$
DECLARE
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY[
        'provider_accounts', 'routes', 'account_domains', 'account_troubles'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', table_name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', table_name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON %I TO tp_api, tp_console
                USING (tenant_id = (SELECT current_tenant_id()))
                WITH CHECK (tenant_id = (SELECT current_tenant_id()))',
            table_name
        );
        EXECUTE format(
            'CREATE POLICY named_tenants ON %I TO tp_deliver, tp_worker
                USING ((tenant_id = ANY ((SELECT current_tenant_ids())::uuid[])) IS TRUE)
                WITH CHECK (tenant_id = ANY ((SELECT current_tenant_ids())::uuid[]))',
            table_name
        );
        CONTINUE WHEN table_name = 'account_troubles';
        EXECUTE format(
            'CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE ON %I
                FOR EACH ROW EXECUTE FUNCTION announce_tenant_change(''tenant_id'')',
            table_name
        );
    END LOOP;
END
$$;

GRANT SELECT, INSERT, UPDATE, DELETE ON provider_accounts, routes TO tp_api, tp_console;
-- Checks are made by the worker; people and programs ask for one.
GRANT SELECT, DELETE ON account_domains TO tp_api, tp_console;
GRANT UPDATE (check_due_at) ON account_domains TO tp_api, tp_console;
GRANT SELECT ON account_states, account_troubles TO tp_api;
GRANT SELECT (id, beat_at) ON workers TO tp_api;
GRANT SELECT ON account_troubles TO tp_console;
GRANT SELECT, INSERT, UPDATE, DELETE ON account_troubles TO tp_worker;
GRANT SELECT ON tenant_data_keys TO tp_api, tp_console;
GRANT SELECT (name) ON domains TO tp_console;
GRANT INSERT, SELECT ON audit_log TO tp_api;
GRANT SELECT ON provider_accounts, routes, account_domains TO tp_deliver;
GRANT UPDATE (check_due_at, checked_at, check_steps) ON provider_accounts TO tp_worker;
-- It opens accounts as tp_deliver: this role has no use for their settings and secrets.
GRANT SELECT (tenant_id, id, changed_at, check_due_at) ON provider_accounts TO tp_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON account_domains TO tp_worker;
GRANT SELECT (tenant_id, id, name, status) ON domains TO tp_worker;

CREATE POLICY system ON provider_accounts FOR SELECT TO tp_system USING (true);
CREATE POLICY system ON account_domains FOR SELECT TO tp_system USING (true);
GRANT SELECT (tenant_id, id, provider, is_on, check_due_at) ON provider_accounts TO tp_system;
GRANT SELECT (tenant_id, domain_id, account, check_due_at) ON account_domains TO tp_system;

-- Accounts that somebody wants checked, one of each tenant but for those that are left out.
CREATE FUNCTION list_due_account_checks(without_tenants uuid[], max_rows integer) RETURNS TABLE (
    tenant_id uuid, account_id uuid
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT d.tenant_id, d.id FROM (
        SELECT DISTINCT ON (p.tenant_id) p.tenant_id, p.id, p.check_due_at
        FROM provider_accounts p
        WHERE p.check_due_at <= now() AND p.tenant_id <> ALL (without_tenants)
        ORDER BY p.tenant_id, p.check_due_at
    ) d
    ORDER BY d.check_due_at LIMIT max_rows
$$;

-- Verified domains at accounts that have to know them and that nobody has asked yet: the platform's
-- accounts of these names, and tenants' own of these providers. It compares all of them, so one worker
-- at a time does: to another that asks meanwhile it tells nothing.
CREATE FUNCTION list_new_account_domains(
    platform_accounts text[], providers text[], max_rows integer
) RETURNS TABLE (tenant_id uuid, domain_id uuid, account text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('tallypost.account_domains', 0)) THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT w.tenant_id, w.domain_id, w.account
    FROM (
        SELECT d.tenant_id, d.id AS domain_id, n.account
        FROM domains d CROSS JOIN unnest(platform_accounts) AS n (account)
        WHERE d.status = 'verified'
        UNION ALL
        SELECT d.tenant_id, d.id, p.id::text
        FROM provider_accounts p JOIN domains d ON d.tenant_id = p.tenant_id
        WHERE d.status = 'verified' AND p.is_on AND p.provider = ANY (providers)
    ) w
    WHERE NOT EXISTS (
        SELECT FROM account_domains a
        WHERE a.tenant_id = w.tenant_id AND a.domain_id = w.domain_id AND a.account = w.account
    )
    LIMIT max_rows;
END
$$;

-- Pairs that are to be asked about at the platform's accounts of these names, so many of each.
CREATE FUNCTION list_due_account_domains(
    platform_accounts text[], max_rows_of_each integer
) RETURNS TABLE (
    tenant_id uuid, domain_id uuid, account text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT d.tenant_id, d.domain_id, d.account
    FROM unnest(platform_accounts) AS n (account)
    CROSS JOIN LATERAL (
        SELECT a.tenant_id, a.domain_id, a.account
        FROM account_domains a
        WHERE a.account = n.account AND a.check_due_at <= now()
        ORDER BY a.check_due_at LIMIT max_rows_of_each
    ) d
$$;

-- Pairs that are to be asked about at tenants' own accounts: of each tenant, but for those that are
-- left out, so many at the account that has waited longest.
CREATE FUNCTION list_due_own_account_domains(
    without_tenants uuid[], max_tenants integer, max_rows_of_each integer
) RETURNS TABLE (
    tenant_id uuid, domain_id uuid, account text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT d.tenant_id, d.domain_id, d.account
    FROM (
        SELECT f.tenant_id, f.account FROM (
            SELECT DISTINCT ON (a.tenant_id) a.tenant_id, a.account, a.check_due_at
            FROM account_domains a
            WHERE a.check_due_at <= now() AND a.tenant_id <> ALL (without_tenants)
              -- The others are the platform's.
              AND a.account ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
            ORDER BY a.tenant_id, a.check_due_at
        ) f
        ORDER BY f.check_due_at LIMIT max_tenants
    ) w
    CROSS JOIN LATERAL (
        SELECT a.tenant_id, a.domain_id, a.account
        FROM account_domains a
        WHERE a.tenant_id = w.tenant_id AND a.account = w.account AND a.check_due_at <= now()
        ORDER BY a.check_due_at LIMIT max_rows_of_each
    ) d
$$;

GRANT CREATE ON SCHEMA public TO tp_system;
ALTER FUNCTION list_due_account_checks(uuid[], integer) OWNER TO tp_system;
ALTER FUNCTION list_new_account_domains(text[], text[], integer) OWNER TO tp_system;
ALTER FUNCTION list_due_account_domains(text[], integer) OWNER TO tp_system;
ALTER FUNCTION list_due_own_account_domains(uuid[], integer, integer) OWNER TO tp_system;
REVOKE CREATE ON SCHEMA public FROM tp_system;
REVOKE ALL ON FUNCTION list_due_account_checks(uuid[], integer),
    list_new_account_domains(text[], text[], integer),
    list_due_account_domains(text[], integer),
    list_due_own_account_domains(uuid[], integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION list_due_account_checks(uuid[], integer),
    list_new_account_domains(text[], text[], integer),
    list_due_account_domains(text[], integer),
    list_due_own_account_domains(uuid[], integer, integer) TO tp_worker;
