-- Claiming and loading, each by one call: both are on the way of every email, and a call waits for
-- the network once. Both run with the rights of their caller.

-- Takes up to quota due rows of each tenant, oldest due first, for one lane and worker.
CREATE FUNCTION claim_rows(
    tenant_ids uuid[],
    wanted_lane text,
    quota integer,
    claiming_worker_id uuid
) RETURNS TABLE (tenant_id uuid, email_id uuid, lane text, fence bigint, attempt integer)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('app.tenant_ids', tenant_ids::text, true);
    -- By its place, as `record_settlements` does, so that no plan walks the backlog.
    RETURN QUERY
    UPDATE send_queue q
    SET state = 'claimed', worker_id = claiming_worker_id, fence = q.fence + 1
    WHERE q.ctid = ANY (ARRAY(
        SELECT due.place
        FROM unnest(tenant_ids) AS t (tenant_id)
        CROSS JOIN LATERAL (
            SELECT q.ctid AS place
            FROM send_queue q
            WHERE q.state = 'waiting' AND q.lane = wanted_lane AND q.tenant_id = t.tenant_id
              AND q.due_at <= now()
            ORDER BY q.due_at, q.email_id
            LIMIT quota
            FOR UPDATE SKIP LOCKED
        ) due
    ))
    RETURNING q.tenant_id, q.email_id, q.lane, q.fence, q.attempt;
END
$$;

-- Whether an email may be sent again to whom may have it: as its stream says, or else by its lane.
CREATE FUNCTION policy_of_unconfirmed(of_stream text, lane text) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT coalesce(of_stream, CASE lane WHEN 'bulk' THEN 'hold' ELSE 'resend' END)
$$;

-- What the named emails need to be sent, and whether their tenant and domain may send now; one row
-- for each, with its recipients as arrays. Contents of more than small_bytes stay where they are.
-- Lists and headers that are empty come as NULL, which nobody has to read.
CREATE FUNCTION load_emails(
    tenant_ids uuid[],
    -- No partition without an email between the two is looked into.
    least_email_id uuid,
    greatest_email_id uuid,
    small_bytes integer,
    w_count integer,
    w_tenant_ids uuid[],
    w_email_ids uuid[]
) RETURNS TABLE (
    email_id uuid,
    mode text,
    domain_id uuid,
    from_header text,
    from_address text,
    to_header jsonb,
    cc_header jsonb,
    reply_to jsonb,
    subject text,
    headers jsonb,
    tags jsonb,
    created_at timestamptz,
    size_bytes integer,
    status text,
    on_unconfirmed text,
    has_content boolean,
    html text,
    text text,
    attachments jsonb,
    tenant_status text,
    domain_status text,
    recipient_ids uuid[],
    kinds text[],
    addresses text[],
    statuses text[]
)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('app.tenant_ids', tenant_ids::text, true);
    RETURN QUERY
    SELECT
        e.id, e.mode, e.domain_id, e.from_header, e.from_address, e.to_header,
        nullif(e.cc_header, '[]'), nullif(e.reply_to, '[]'), e.subject, nullif(e.headers, '{}'),
        nullif(e.tags, '[]'), e.created_at, e.size_bytes, e.status,
        policy_of_unconfirmed(s.on_unconfirmed, e.lane),
        c.email_id IS NOT NULL, c.html, c.text, nullif(c.attachments, '[]'), t.status, d.status,
        r.ids, r.kinds, r.addresses, r.statuses
    FROM unnest(spread(w_tenant_ids, w_count), spread(w_email_ids, w_count))
        AS w (tenant_id, email_id)
    JOIN emails e ON e.tenant_id = w.tenant_id AND e.id = w.email_id
    LEFT JOIN email_contents c
        ON c.tenant_id = w.tenant_id AND c.email_id = w.email_id AND e.size_bytes <= small_bytes
       AND c.email_id BETWEEN least_email_id AND greatest_email_id
    JOIN tenants t ON t.id = w.tenant_id
    LEFT JOIN domains d ON d.tenant_id = w.tenant_id AND d.id = e.domain_id
    LEFT JOIN streams s ON s.tenant_id = w.tenant_id AND s.name = e.stream
    CROSS JOIN LATERAL (
        SELECT
            array_agg(o.id) AS ids, array_agg(o.kind) AS kinds,
            array_agg(o.address) AS addresses, array_agg(o.status) AS statuses
        FROM (
            SELECT r.id, r.kind, r.address, r.status FROM recipients r
            WHERE r.tenant_id = w.tenant_id AND r.email_id = w.email_id
              AND r.email_id BETWEEN least_email_id AND greatest_email_id
            ORDER BY r.id
        ) o
    ) r
    WHERE e.id BETWEEN least_email_id AND greatest_email_id;
END
$$;

-- Of the named addresses, those that must not get anything.
CREATE FUNCTION find_suppressed(
    tenant_ids uuid[],
    w_count integer,
    w_tenant_ids uuid[],
    w_modes text[],
    w_address_hashes bytea[]
) RETURNS TABLE (tenant_id uuid, mode text, address_hash bytea)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('app.tenant_ids', tenant_ids::text, true);
    RETURN QUERY
    SELECT s.tenant_id, s.mode, s.address_hash
    FROM unnest(
        spread(w_tenant_ids, w_count), spread(w_modes, w_count), spread(w_address_hashes, w_count)
    ) AS w (tenant_id, mode, address_hash)
    JOIN suppressions s ON s.tenant_id = w.tenant_id AND s.mode = w.mode
        AND s.address_hash = w.address_hash;
END
$$;

REVOKE ALL ON FUNCTION claim_rows, load_emails, policy_of_unconfirmed, find_suppressed FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_rows, load_emails, policy_of_unconfirmed, find_suppressed TO tp_deliver;
