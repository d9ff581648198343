-- Plugins that are told of events. A row comes with the first worker that names the subscriber.
CREATE TABLE event_subscribers (
    name text NOT NULL,
    -- When a worker last named it. Events of a day after that are still kept for it.
    seen_at timestamptz NOT NULL DEFAULT now(),
    -- When a worker last said that it did not come back from an event.
    hanging_at timestamptz,
    CONSTRAINT pk_event_subscribers PRIMARY KEY (name)
);

-- An event that a subscriber is still to be told of: the row is the job, and goes when it is done.
-- Without a foreign key, as events have none: a tenant that is deleted while its mail is under way
-- must not make storing an event fail. The key is the event's, so storing one never fails on it.
CREATE TABLE event_deliveries (
    tenant_id uuid NOT NULL,
    subscriber text NOT NULL,
    subject_id uuid NOT NULL,
    event_id uuid NOT NULL,
    -- A claim moves it ahead, so that a worker that dies leaves a row that is due again.
    due_at timestamptz NOT NULL DEFAULT now(),
    -- Counted when it begins: an event that ends the process is given up like any other.
    attempt integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'waiting',
    -- How the last attempt began, until something is known of it. A claim that finds it set knows of
    -- a worker that was lost with the event, among others or alone.
    under_way text,
    -- The kind of the last error, never its words.
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_event_deliveries PRIMARY KEY (tenant_id, subscriber, subject_id, event_id),
    CONSTRAINT ck_event_deliveries_state CHECK (state IN ('waiting', 'dead')),
    CONSTRAINT ck_event_deliveries_under_way CHECK (under_way IN ('among_others', 'alone'))
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

CREATE INDEX ix_event_deliveries_waiting ON event_deliveries (subscriber, due_at)
    WHERE state = 'waiting';
CREATE INDEX ix_event_deliveries_dead ON event_deliveries (subscriber, due_at)
    WHERE state = 'dead';

ALTER TABLE event_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE event_deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY named_tenants ON event_deliveries TO tp_worker
    USING ((tenant_id = ANY ((SELECT current_tenant_ids())::uuid[])) IS TRUE)
    WITH CHECK (tenant_id = ANY ((SELECT current_tenant_ids())::uuid[]));
CREATE POLICY system ON event_deliveries TO tp_system USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE ON event_subscribers TO tp_worker;
GRANT SELECT, DELETE, UPDATE (due_at, attempt, state, under_way, last_error)
    ON event_deliveries TO tp_worker;
GRANT SELECT ON events TO tp_worker;
GRANT SELECT, DELETE, UPDATE (seen_at) ON event_subscribers TO tp_system;
GRANT SELECT, DELETE, INSERT (tenant_id, subscriber, subject_id, event_id),
    UPDATE (due_at, attempt, state) ON event_deliveries TO tp_system;

-- With each event, in its transaction: a row for each subscriber. Whoever stores events may do
-- nothing else, and no caller can forget it. Without a subscriber it is one look at an empty table.
CREATE FUNCTION feed_subscribers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM event_subscribers s WHERE s.seen_at > now() - interval '24 hours'
    ) THEN
        RETURN NULL;
    END IF;
    INSERT INTO event_deliveries (tenant_id, subscriber, subject_id, event_id)
    SELECT n.tenant_id, s.name, n.subject_id, n.id
    FROM new_events n CROSS JOIN event_subscribers s
    WHERE s.seen_at > now() - interval '24 hours';
    RETURN NULL;
END
$$;

-- Events that a subscriber is to be told of now, the longest waiting first, and whether the last
-- attempt was lost with its worker.
CREATE FUNCTION list_due_event_deliveries(wanted text, max_rows integer) RETURNS TABLE (
    tenant_id uuid, subject_id uuid, event_id uuid, is_lost boolean
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT d.tenant_id, d.subject_id, d.event_id, d.under_way IS NOT NULL
    FROM event_deliveries d
    WHERE d.subscriber = wanted AND d.state = 'waiting' AND d.due_at <= now()
    ORDER BY d.due_at LIMIT max_rows
$$;

-- How many events wait for a subscriber and how many are dead, over all tenants; counts to max_rows.
CREATE FUNCTION count_event_deliveries(wanted text, max_rows integer) RETURNS TABLE (
    waiting bigint, dead bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT
        (SELECT count(*) FROM (
            SELECT FROM event_deliveries d
            WHERE d.subscriber = wanted AND d.state = 'waiting' LIMIT max_rows
        ) counted),
        (SELECT count(*) FROM (
            SELECT FROM event_deliveries d
            WHERE d.subscriber = wanted AND d.state = 'dead' LIMIT max_rows
        ) counted)
$$;

-- How each subscriber does, over all tenants; counts to max_rows. A worker repeats every minute that
-- it names one, and that one hangs.
CREATE FUNCTION list_event_subscribers(max_rows integer) RETURNS TABLE (
    name text, seen_ago_s double precision, is_hanging boolean, waiting bigint, dead bigint,
    last_error text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT s.name,
        CASE WHEN isfinite(s.seen_at) THEN extract(epoch FROM now() - s.seen_at)::float8 END,
        coalesce(s.hanging_at > now() - interval '3 minutes', false),
        c.waiting, c.dead,
        (SELECT d.last_error FROM event_deliveries d
            WHERE d.subscriber = s.name AND d.state = 'dead' ORDER BY d.due_at DESC LIMIT 1)
    FROM event_subscribers s CROSS JOIN LATERAL count_event_deliveries(s.name, max_rows) c
    ORDER BY s.name
$$;

-- Lets up to max_rows events that a subscriber was given up for be due again; returns how many.
CREATE FUNCTION retry_dead_event_deliveries(wanted text, max_rows integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH dead AS (
        SELECT d.tenant_id, d.subject_id, d.event_id FROM event_deliveries d
        WHERE d.subscriber = wanted AND d.state = 'dead'
        ORDER BY d.due_at LIMIT max_rows
        FOR UPDATE SKIP LOCKED
    ), retried AS (
        UPDATE event_deliveries d SET state = 'waiting', attempt = 0, due_at = now()
        FROM dead
        WHERE d.tenant_id = dead.tenant_id AND d.subscriber = wanted
          AND d.subject_id = dead.subject_id AND d.event_id = dead.event_id
        RETURNING 1
    )
    SELECT count(*)::integer FROM retried
$$;

-- Drops up to max_rows events of a subscriber that nothing names any more, and once none is left the
-- subscriber; returns how many events, or NULL where a worker has named it lately.
CREATE FUNCTION forget_event_subscriber(wanted text, max_rows integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    dropped integer;
BEGIN
    -- First of all nothing more is kept for it.
    UPDATE event_subscribers s SET seen_at = '-infinity'
    WHERE s.name = wanted AND s.seen_at < now() - interval '5 minutes';
    IF EXISTS (
        SELECT FROM event_subscribers s WHERE s.name = wanted AND s.seen_at > '-infinity'
    ) THEN
        RETURN NULL;
    END IF;
    DELETE FROM event_deliveries d WHERE d.ctid = ANY (ARRAY(
        SELECT t.ctid FROM event_deliveries t WHERE t.subscriber = wanted AND t.state = 'waiting'
        UNION ALL
        SELECT t.ctid FROM event_deliveries t WHERE t.subscriber = wanted AND t.state = 'dead'
        LIMIT max_rows
    ));
    GET DIAGNOSTICS dropped = ROW_COUNT;
    IF dropped = 0 THEN
        DELETE FROM event_subscribers s WHERE s.name = wanted AND s.seen_at = '-infinity';
    END IF;
    RETURN dropped;
END
$$;

GRANT CREATE ON SCHEMA public TO tp_system;
ALTER FUNCTION feed_subscribers() OWNER TO tp_system;
ALTER FUNCTION list_due_event_deliveries(text, integer) OWNER TO tp_system;
ALTER FUNCTION count_event_deliveries(text, integer) OWNER TO tp_system;
ALTER FUNCTION list_event_subscribers(integer) OWNER TO tp_system;
ALTER FUNCTION retry_dead_event_deliveries(text, integer) OWNER TO tp_system;
ALTER FUNCTION forget_event_subscriber(text, integer) OWNER TO tp_system;
REVOKE CREATE ON SCHEMA public FROM tp_system;
REVOKE ALL ON FUNCTION feed_subscribers(), list_due_event_deliveries(text, integer),
    count_event_deliveries(text, integer), list_event_subscribers(integer), retry_dead_event_deliveries(text, integer),
    forget_event_subscriber(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION list_due_event_deliveries(text, integer),
    count_event_deliveries(text, integer) TO tp_worker;
GRANT EXECUTE ON FUNCTION list_event_subscribers(integer),
    retry_dead_event_deliveries(text, integer), forget_event_subscriber(text, integer) TO tp_cli;

CREATE TRIGGER feed_subscribers AFTER INSERT ON events
REFERENCING NEW TABLE AS new_events
FOR EACH STATEMENT EXECUTE FUNCTION feed_subscribers();
