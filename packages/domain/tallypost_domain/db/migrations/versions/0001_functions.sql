-- The closed list of questions that are asked before a tenant is known. Each is an exact match
-- on something secret or unguessable and answers with at most one row.

CREATE FUNCTION find_api_key(hash bytea) RETURNS TABLE (
    tenant_id uuid, id uuid, mode text, permission text, stream text, rate_limit_per_s float8,
    is_revoked boolean, tenant_status text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT k.tenant_id, k.id, k.mode, k.permission, k.stream,
           coalesce(k.rate_limit_per_s, t.rate_limit_per_s), k.revoked_at IS NOT NULL, t.status
    FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
    WHERE k.key_hash = hash
    LIMIT 1
$$;

CREATE FUNCTION find_person_by_email(address text) RETURNS TABLE (
    id uuid, name text, password_hash text, is_operator boolean, tenant_id uuid
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT p.id, p.name, p.password_hash, p.is_operator,
           (SELECT m.tenant_id FROM memberships m WHERE m.person_id = p.id
            ORDER BY m.created_at, m.tenant_id LIMIT 1)
    FROM people p
    WHERE p.email = lower(address)
    LIMIT 1
$$;

-- A session lives 14 days at most and 12 hours without use; use moves last_seen_at once a minute.
CREATE FUNCTION find_session(hash bytea) RETURNS TABLE (
    person_id uuid, name text, email text, is_operator boolean, tenant_id uuid, role text
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    UPDATE sessions s SET last_seen_at = now()
    WHERE s.token_hash = hash AND s.last_seen_at < now() - interval '1 minute'
      AND s.last_seen_at > now() - interval '12 hours'
      AND s.created_at > now() - interval '14 days';
    RETURN QUERY
        SELECT p.id, p.name, p.email, p.is_operator, s.active_tenant_id, m.role
        FROM sessions s
        JOIN people p ON p.id = s.person_id
        LEFT JOIN memberships m ON m.person_id = p.id AND m.tenant_id = s.active_tenant_id
        WHERE s.token_hash = hash
          AND s.last_seen_at > now() - interval '12 hours'
          AND s.created_at > now() - interval '14 days'
        LIMIT 1;
END
$$;

CREATE FUNCTION find_email_owner(email_id uuid) RETURNS TABLE (tenant_id uuid, mode text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT e.tenant_id, e.mode FROM emails e WHERE e.id = email_id LIMIT 1
$$;

-- Work that belongs to no tenant. These return ids and counts, never what a tenant sent or to
-- whom; list_tenants_for_operator alone returns more, the tenants' names and states.

-- Tenants with a row due now in one lane, by a loose index scan: its cost follows the number of
-- tenants with waiting rows, not the backlog.
CREATE FUNCTION list_due_tenants(wanted_lane text) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH RECURSIVE t AS (
        (SELECT q.tenant_id FROM send_queue q
         WHERE q.state = 'waiting' AND q.lane = wanted_lane
         ORDER BY q.tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT q.tenant_id FROM send_queue q
                WHERE q.state = 'waiting' AND q.lane = wanted_lane AND q.tenant_id > t.tenant_id
                ORDER BY q.tenant_id LIMIT 1)
        FROM t WHERE t.tenant_id IS NOT NULL
    )
    SELECT t.tenant_id FROM t
    WHERE t.tenant_id IS NOT NULL AND EXISTS (
        SELECT FROM send_queue q
        WHERE q.state = 'waiting' AND q.lane = wanted_lane AND q.tenant_id = t.tenant_id
          AND q.due_at <= now()
    )
$$;

-- Tenants and emails whose rows a dead worker holds; a worker is dead 30 s after its last beat.
CREATE FUNCTION list_abandoned_rows(max_rows integer) RETURNS TABLE (
    tenant_id uuid, email_id uuid
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT q.tenant_id, q.email_id
    FROM send_queue q LEFT JOIN workers w ON w.id = q.worker_id
    WHERE q.worker_id IS NOT NULL
      AND (w.id IS NULL OR w.beat_at < now() - interval '30 seconds')
    ORDER BY q.tenant_id, q.email_id
    LIMIT max_rows
$$;

-- Due depth and the age of the oldest due row for each lane, for metrics.
CREATE FUNCTION measure_queue() RETURNS TABLE (
    lane text, due_count bigint, oldest_due_age_s float8
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT q.lane, count(*), extract(epoch FROM now() - min(q.due_at))::float8
    FROM send_queue q
    WHERE q.state = 'waiting' AND q.due_at <= now()
    GROUP BY q.lane
$$;

-- Forgets idempotency keys after the promised 24 hours, a bounded number at a time.
CREATE FUNCTION delete_expired_idempotency_keys(max_rows integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH expired AS (
        SELECT ctid FROM idempotency_keys
        WHERE created_at < now() - interval '24 hours'
        ORDER BY created_at LIMIT max_rows
        FOR UPDATE SKIP LOCKED
    ), deleted AS (
        DELETE FROM idempotency_keys i USING expired WHERE i.ctid = expired.ctid RETURNING 1
    )
    SELECT count(*) FROM deleted
$$;

-- Empties the Inbox of what is older than 7 days, a bounded number at a time.
CREATE FUNCTION delete_old_inbox_messages(max_rows integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH old AS (
        SELECT ctid FROM inbox_messages
        WHERE received_at < now() - interval '7 days'
        ORDER BY received_at LIMIT max_rows
        FOR UPDATE SKIP LOCKED
    ), deleted AS (
        DELETE FROM inbox_messages i USING old WHERE i.ctid = old.ctid RETURNING 1
    )
    SELECT count(*) FROM deleted
$$;

-- All tenants by name, for an operator's page.
CREATE FUNCTION list_tenants_for_operator() RETURNS TABLE (id uuid, name text, status text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT t.id, t.name, t.status FROM tenants t ORDER BY t.name, t.id
$$;

GRANT CREATE ON SCHEMA public TO tp_lookup, tp_system;

ALTER FUNCTION find_api_key(bytea) OWNER TO tp_lookup;
ALTER FUNCTION find_person_by_email(text) OWNER TO tp_lookup;
ALTER FUNCTION find_session(bytea) OWNER TO tp_lookup;
ALTER FUNCTION find_email_owner(uuid) OWNER TO tp_lookup;
ALTER FUNCTION list_due_tenants(text) OWNER TO tp_system;
ALTER FUNCTION list_abandoned_rows(integer) OWNER TO tp_system;
ALTER FUNCTION measure_queue() OWNER TO tp_system;
ALTER FUNCTION delete_expired_idempotency_keys(integer) OWNER TO tp_system;
ALTER FUNCTION delete_old_inbox_messages(integer) OWNER TO tp_system;
ALTER FUNCTION list_tenants_for_operator() OWNER TO tp_system;

REVOKE CREATE ON SCHEMA public FROM tp_lookup, tp_system;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;

GRANT EXECUTE ON FUNCTION find_api_key(bytea) TO tp_api;
GRANT EXECUTE ON FUNCTION find_person_by_email(text), find_session(bytea),
    list_tenants_for_operator() TO tp_console;
GRANT EXECUTE ON FUNCTION find_person_by_email(text) TO tp_cli;
GRANT EXECUTE ON FUNCTION find_email_owner(uuid) TO tp_inbox;
GRANT EXECUTE ON FUNCTION list_due_tenants(text), list_abandoned_rows(integer), measure_queue()
    TO tp_deliver;
GRANT EXECUTE ON FUNCTION delete_expired_idempotency_keys(integer),
    delete_old_inbox_messages(integer), create_partitions(integer) TO tp_worker;
