-- Lists of the queue that do not walk it.

-- Tenants with a row due now in one lane. The index has the tenant's rows in the order of their
-- due time, so the first row of a tenant tells whether any is due: one step for each tenant with
-- waiting rows, whatever the backlog.
CREATE OR REPLACE FUNCTION list_due_tenants(wanted_lane text) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH RECURSIVE earliest AS (
        (SELECT q.tenant_id, q.due_at FROM send_queue q
         WHERE q.state = 'waiting' AND q.lane = wanted_lane
         ORDER BY q.tenant_id, q.due_at LIMIT 1)
        UNION ALL
        SELECT n.tenant_id, n.due_at
        FROM earliest e CROSS JOIN LATERAL (
            SELECT q.tenant_id, q.due_at FROM send_queue q
            WHERE q.state = 'waiting' AND q.lane = wanted_lane AND q.tenant_id > e.tenant_id
            ORDER BY q.tenant_id, q.due_at LIMIT 1
        ) n
    )
    SELECT e.tenant_id FROM earliest e WHERE e.due_at <= now()
$$;

-- Due depth and the age of the oldest due row for each lane, for metrics. Counts to 100,000, so
-- that measuring a great backlog does not add to it.
CREATE OR REPLACE FUNCTION measure_queue() RETURNS TABLE (
    lane text, due_count bigint, oldest_due_age_s float8
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH RECURSIVE earliest AS (
        SELECT l.lane, f.tenant_id, f.due_at
        FROM unnest(ARRAY['transactional', 'bulk']) AS l (lane) CROSS JOIN LATERAL (
            SELECT q.tenant_id, q.due_at FROM send_queue q
            WHERE q.state = 'waiting' AND q.lane = l.lane
            ORDER BY q.tenant_id, q.due_at LIMIT 1
        ) f
        UNION ALL
        SELECT e.lane, n.tenant_id, n.due_at
        FROM earliest e CROSS JOIN LATERAL (
            SELECT q.tenant_id, q.due_at FROM send_queue q
            WHERE q.state = 'waiting' AND q.lane = e.lane AND q.tenant_id > e.tenant_id
            ORDER BY q.tenant_id, q.due_at LIMIT 1
        ) n
    ), due AS (
        SELECT e.lane, e.tenant_id, e.due_at FROM earliest e WHERE e.due_at <= now()
    ), oldest AS (
        SELECT d.lane, min(d.due_at) AS due_at FROM due d GROUP BY d.lane
    )
    SELECT o.lane, c.due_count, extract(epoch FROM now() - o.due_at)::float8
    FROM oldest o CROSS JOIN LATERAL (
        SELECT count(*) AS due_count FROM (
            SELECT FROM due d CROSS JOIN LATERAL (
                SELECT FROM send_queue q
                WHERE q.state = 'waiting' AND q.lane = o.lane AND q.tenant_id = d.tenant_id
                  AND q.due_at <= now()
                LIMIT 100000
            ) r
            WHERE d.lane = o.lane
            LIMIT 100000
        ) counted
    ) c
$$;

-- Held rows whose cause is gone: the tenant is active and the domain verified.
CREATE INDEX ix_send_queue_held ON send_queue (tenant_id, email_id) WHERE state = 'held';

CREATE FUNCTION list_releasable_rows(max_rows integer) RETURNS TABLE (
    tenant_id uuid, email_id uuid
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT q.tenant_id, q.email_id
    FROM send_queue q
    JOIN tenants t ON t.id = q.tenant_id AND t.status = 'active'
    JOIN emails e ON e.tenant_id = q.tenant_id AND e.id = q.email_id
    JOIN domains d ON d.tenant_id = e.tenant_id AND d.id = e.domain_id AND d.status = 'verified'
    WHERE q.state = 'held'
    ORDER BY q.tenant_id, q.email_id
    LIMIT max_rows
$$;

CREATE POLICY system ON emails FOR SELECT TO tp_system USING (true);
CREATE POLICY system ON domains FOR SELECT TO tp_system USING (true);
GRANT SELECT (tenant_id, id, domain_id) ON emails TO tp_system;
GRANT SELECT (tenant_id, id, status) ON domains TO tp_system;

GRANT CREATE ON SCHEMA public TO tp_system;
ALTER FUNCTION list_releasable_rows(integer) OWNER TO tp_system;
REVOKE CREATE ON SCHEMA public FROM tp_system;
REVOKE ALL ON FUNCTION list_releasable_rows(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION list_releasable_rows(integer) TO tp_deliver;
