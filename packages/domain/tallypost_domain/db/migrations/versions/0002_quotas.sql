-- How many billable recipients a tenant may accept in a month; NULL means any number.

ALTER TABLE tenants ADD COLUMN monthly_quota bigint;

ALTER TABLE tenants ADD CONSTRAINT ck_tenants_monthly_quota CHECK (monthly_quota >= 0);

-- A month of a tenant that has a quota. What is granted is spent, or stands in a lease.
CREATE TABLE quota_counters (
    tenant_id uuid NOT NULL,
    period date NOT NULL,
    granted bigint NOT NULL DEFAULT 0,
    CONSTRAINT pk_quota_counters PRIMARY KEY (tenant_id, period),
    CONSTRAINT ck_quota_counters_granted CHECK (granted >= 0),
    CONSTRAINT fk_quota_counters_tenant_id_tenants FOREIGN KEY (tenant_id)
        REFERENCES tenants (id) ON DELETE CASCADE
);

-- Units that one process may spend. Spending is a part of the transaction that stores the emails,
-- so what a dead process did not spend is known exactly, and goes back.
CREATE TABLE quota_leases (
    tenant_id uuid NOT NULL,
    period date NOT NULL,
    id uuid NOT NULL,
    units bigint NOT NULL,
    spent bigint NOT NULL DEFAULT 0,
    used_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_quota_leases PRIMARY KEY (tenant_id, period, id),
    CONSTRAINT ck_quota_leases_spent CHECK (spent BETWEEN 0 AND units),
    CONSTRAINT fk_quota_leases_tenant_id_quota_counters FOREIGN KEY (tenant_id, period)
        REFERENCES quota_counters (tenant_id, period) ON DELETE CASCADE
) WITH (fillfactor = 50);

DO $$
DECLARE
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY['quota_counters', 'quota_leases'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', table_name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', table_name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON %I
                TO tp_api, tp_console, tp_billing, tp_templates, tp_bounces, tp_inbox, tp_cli
                USING (tenant_id = (SELECT current_tenant_id()))
                WITH CHECK (tenant_id = (SELECT current_tenant_id()))',
            table_name
        );
        EXECUTE format(
            'CREATE POLICY named_tenants ON %I TO tp_accept, tp_deliver, tp_worker
                USING (tenant_id = ANY ((SELECT current_tenant_ids())::uuid[]))
                WITH CHECK (tenant_id = ANY ((SELECT current_tenant_ids())::uuid[]))',
            table_name
        );
    END LOOP;
END
$$;

GRANT SELECT (id, monthly_quota) ON tenants TO tp_accept;
GRANT SELECT, INSERT, UPDATE (granted) ON quota_counters TO tp_accept;
GRANT SELECT, INSERT, UPDATE (units, spent, used_at), DELETE ON quota_leases TO tp_accept;
