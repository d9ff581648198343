-- What a worker handed over in about half a second, for a page that shows the platform live. It names no
-- tenant, so grants guard it. Rows may be lost, and go after an hour: what has to be kept is in
-- attempts and metrics.
CREATE TABLE delivery_samples (
    at timestamptz NOT NULL DEFAULT now(),
    worker_id uuid NOT NULL,
    provider text NOT NULL,
    -- Recipients by the outcome that the provider gave.
    accepted integer NOT NULL,
    rejected integer NOT NULL,
    deferred integer NOT NULL,
    throttled integer NOT NULL,
    suspended integer NOT NULL,
    unavailable integer NOT NULL,
    ambiguous integer NOT NULL,
    -- Emails by their age at the answer to their first handover.
    ages integer[] NOT NULL,
    CONSTRAINT pk_delivery_samples PRIMARY KEY (at, worker_id, provider)
);

GRANT SELECT, INSERT, DELETE ON delivery_samples TO tp_worker;
GRANT SELECT ON delivery_samples, workers TO tp_console;

CREATE POLICY system ON dead_letters FOR SELECT TO tp_system USING (true);
GRANT SELECT ON dead_letters TO tp_system;

-- Rows of the queue by state, and dead letters, of all tenants. Counts each to max_rows, by an index
-- that holds no others.
CREATE FUNCTION count_queue_states(max_rows integer) RETURNS TABLE (state text, row_count bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH in_flight AS (
        SELECT q.state FROM send_queue q WHERE q.worker_id IS NOT NULL LIMIT max_rows
    )
    SELECT 'waiting', count(*) FROM (
        SELECT FROM send_queue q WHERE q.state = 'waiting' LIMIT max_rows
    ) counted
    UNION ALL
    SELECT i.state, count(*) FROM in_flight i GROUP BY i.state
    UNION ALL
    SELECT 'held', count(*) FROM (
        SELECT FROM send_queue q WHERE q.state = 'held' LIMIT max_rows
    ) counted
    UNION ALL
    SELECT 'ambiguous', count(*) FROM (
        SELECT FROM send_queue q WHERE q.state = 'ambiguous' LIMIT max_rows
    ) counted
    UNION ALL
    SELECT 'dead_letter', count(*) FROM (SELECT FROM dead_letters LIMIT max_rows) counted
$$;

GRANT CREATE ON SCHEMA public TO tp_system;
ALTER FUNCTION count_queue_states(integer) OWNER TO tp_system;
REVOKE CREATE ON SCHEMA public FROM tp_system;
REVOKE ALL ON FUNCTION count_queue_states(integer) FROM PUBLIC;
-- Both give numbers only.
GRANT EXECUTE ON FUNCTION count_queue_states(integer), measure_queue() TO tp_console;
