-- The trace that an email was accepted in: a W3C traceparent of the span that accepted it, which
-- the delivery goes on from, days later too. It stands here because the queue row is deleted. NULL
-- where the request was not sampled. `;batch` at its end says that emails share it.
ALTER TABLE emails ADD COLUMN trace_context text;
ALTER TABLE emails ADD CONSTRAINT ck_emails_trace_context
    CHECK (trace_context ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-01(;batch)?$');

DROP FUNCTION accept_emails;

-- Stores emails of many tenants, by one call and one commit: a busy process waits for the network
-- once for all requests that it writes together. Runs with the rights of its caller, tp_accept.
--
-- It takes the usual case only. Where a key was claimed before, an address is suppressed or a lease
-- was taken back, it fails with TP001 and has stored nothing: then the caller decides, and calls it
-- again in its own transaction without what it has looked at.
CREATE FUNCTION accept_emails(
    tenant_ids uuid[],
    wait_ms integer,
    channel text,
    payloads text[],
    -- Idempotency keys, in one order in all processes.
    k_count integer,
    k_tenant_ids uuid[],
    k_modes text[],
    k_routes text[],
    k_keys text[],
    k_fingerprints bytea[],
    k_answers text[],
    -- Addresses that must not be suppressed.
    a_count integer,
    a_tenant_ids uuid[],
    a_modes text[],
    a_hashes bytea[],
    -- Leases of quotas, by tenant, and what is spent from them.
    l_count integer,
    l_tenant_ids uuid[],
    l_periods date[],
    l_ids uuid[],
    l_units bigint[],
    -- Emails with their contents.
    e_count integer,
    e_tenant_ids uuid[],
    e_ids uuid[],
    e_modes text[],
    e_api_key_ids uuid[],
    e_domain_ids uuid[],
    e_streams text[],
    e_lanes text[],
    e_from_headers text[],
    e_from_addresses text[],
    e_to_headers text[],
    e_cc_headers text[],
    e_bcc_headers text[],
    e_reply_tos text[],
    e_subjects text[],
    e_headers text[],
    e_tags text[],
    e_sizes integer[],
    e_statuses text[],
    e_scheduled_ats timestamptz[],
    e_htmls text[],
    e_texts text[],
    e_attachments text[],
    e_event_ids uuid[],
    e_trace_contexts text[],
    -- Their recipients; one that is suppressed has an event of its own.
    r_count integer,
    r_tenant_ids uuid[],
    r_email_ids uuid[],
    r_ids uuid[],
    r_modes text[],
    r_kinds text[],
    r_addresses text[],
    r_statuses text[],
    r_event_ids uuid[]
) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    done bigint;
BEGIN
    PERFORM set_config('app.tenant_ids', tenant_ids::text, true);
    PERFORM set_config('lock_timeout', wait_ms::text, true);

    IF k_count > 0 THEN
        k_tenant_ids := spread(k_tenant_ids, k_count);
        k_modes := spread(k_modes, k_count);
        k_routes := spread(k_routes, k_count);
        k_keys := spread(k_keys, k_count);
        k_fingerprints := spread(k_fingerprints, k_count);
        k_answers := spread(k_answers, k_count);
        INSERT INTO idempotency_keys (tenant_id, mode, route, key, fingerprint, answer)
        SELECT k.tenant_id, k.mode, k.route, k.key, k.fingerprint, k.answer::jsonb
        FROM unnest(k_tenant_ids, k_modes, k_routes, k_keys, k_fingerprints, k_answers)
            AS k (tenant_id, mode, route, key, fingerprint, answer)
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS done = ROW_COUNT;
        IF done < k_count THEN
            RAISE EXCEPTION 'a key was claimed before' USING ERRCODE = 'TP001';
        END IF;
    END IF;

    IF a_count > 0 THEN
        a_tenant_ids := spread(a_tenant_ids, a_count);
        a_modes := spread(a_modes, a_count);
        a_hashes := spread(a_hashes, a_count);
        IF EXISTS (
            SELECT FROM unnest(a_tenant_ids, a_modes, a_hashes) AS a (tenant_id, mode, address_hash)
            JOIN suppressions s USING (tenant_id, mode, address_hash)
        ) THEN
            RAISE EXCEPTION 'an address is suppressed' USING ERRCODE = 'TP001';
        END IF;
    END IF;

    IF l_count > 0 THEN
        l_tenant_ids := spread(l_tenant_ids, l_count);
        l_periods := spread(l_periods, l_count);
        l_ids := spread(l_ids, l_count);
        l_units := spread(l_units, l_count);
        WITH locked AS (
            SELECT l.tenant_id, l.period, l.id, s.units
            FROM unnest(l_tenant_ids, l_periods, l_ids, l_units)
                AS s (tenant_id, period, id, units)
            JOIN quota_leases l USING (tenant_id, period, id)
            ORDER BY l.tenant_id, l.id
            FOR UPDATE OF l
        )
        UPDATE quota_leases l SET spent = l.spent + k.units, used_at = now()
        FROM locked k
        WHERE l.tenant_id = k.tenant_id AND l.period = k.period AND l.id = k.id
          AND l.spent + k.units <= l.units
          AND l.period = date_trunc('month', now() AT TIME ZONE 'UTC')::date;
        GET DIAGNOSTICS done = ROW_COUNT;
        IF done < l_count THEN
            RAISE EXCEPTION 'a lease was taken back' USING ERRCODE = 'TP001';
        END IF;
    END IF;

    e_tenant_ids := spread(e_tenant_ids, e_count);
    e_ids := spread(e_ids, e_count);
    e_modes := spread(e_modes, e_count);
    e_api_key_ids := spread(e_api_key_ids, e_count);
    e_domain_ids := spread(e_domain_ids, e_count);
    e_streams := spread(e_streams, e_count);
    e_lanes := spread(e_lanes, e_count);
    e_from_headers := spread(e_from_headers, e_count);
    e_from_addresses := spread(e_from_addresses, e_count);
    e_to_headers := spread(e_to_headers, e_count);
    e_cc_headers := spread(e_cc_headers, e_count);
    e_bcc_headers := spread(e_bcc_headers, e_count);
    e_reply_tos := spread(e_reply_tos, e_count);
    e_subjects := spread(e_subjects, e_count);
    e_headers := spread(e_headers, e_count);
    e_tags := spread(e_tags, e_count);
    e_sizes := spread(e_sizes, e_count);
    e_statuses := spread(e_statuses, e_count);
    e_scheduled_ats := spread(e_scheduled_ats, e_count);
    e_htmls := spread(e_htmls, e_count);
    e_texts := spread(e_texts, e_count);
    e_attachments := spread(e_attachments, e_count);
    e_event_ids := spread(e_event_ids, e_count);
    e_trace_contexts := spread(e_trace_contexts, e_count);
    r_tenant_ids := spread(r_tenant_ids, r_count);
    r_email_ids := spread(r_email_ids, r_count);
    r_ids := spread(r_ids, r_count);
    r_modes := spread(r_modes, r_count);
    r_kinds := spread(r_kinds, r_count);
    r_addresses := spread(r_addresses, r_count);
    r_statuses := spread(r_statuses, r_count);
    r_event_ids := spread(r_event_ids, r_count);

    WITH e AS MATERIALIZED (
        SELECT * FROM unnest(
            e_tenant_ids, e_ids, e_modes, e_api_key_ids, e_domain_ids, e_streams, e_lanes,
            e_from_headers, e_from_addresses, e_to_headers, e_cc_headers, e_bcc_headers,
            e_reply_tos, e_subjects, e_headers, e_tags, e_sizes, e_statuses, e_scheduled_ats,
            e_htmls, e_texts, e_attachments, e_event_ids, e_trace_contexts
        ) AS e (
            tenant_id, id, mode, api_key_id, domain_id, stream, lane,
            from_header, from_address, to_header, cc_header, bcc_header,
            reply_to, subject, headers, tags, size_bytes, status, scheduled_at,
            html, text, attachments, event_id, trace_context
        )
    ), r AS MATERIALIZED (
        SELECT * FROM unnest(
            r_tenant_ids, r_email_ids, r_ids, r_modes, r_kinds, r_addresses, r_statuses, r_event_ids
        ) AS r (tenant_id, email_id, id, mode, kind, address, status, event_id)
    ), inserted_emails AS (
        INSERT INTO emails (
            tenant_id, id, mode, api_key_id, domain_id, stream, lane, from_header, from_address,
            to_header, cc_header, bcc_header, reply_to, subject, headers, tags, size_bytes, status,
            scheduled_at, trace_context
        )
        SELECT
            e.tenant_id, e.id, e.mode, e.api_key_id, e.domain_id, e.stream, e.lane, e.from_header,
            e.from_address, e.to_header::jsonb, e.cc_header::jsonb, e.bcc_header::jsonb,
            e.reply_to::jsonb, e.subject, e.headers::jsonb, e.tags::jsonb, e.size_bytes, e.status,
            e.scheduled_at, e.trace_context
        FROM e
    ), inserted_recipients AS (
        INSERT INTO recipients (tenant_id, email_id, id, mode, kind, address, status)
        SELECT r.tenant_id, r.email_id, r.id, r.mode, r.kind, r.address, r.status FROM r
    ), inserted_contents AS (
        INSERT INTO email_contents (tenant_id, email_id, html, text, attachments)
        SELECT e.tenant_id, e.id, e.html, e.text, e.attachments::jsonb FROM e
    ), inserted_events AS (
        INSERT INTO events (tenant_id, subject_id, id, mode, type, recipient_id, data)
        SELECT e.tenant_id, e.id, e.event_id, e.mode,
               CASE WHEN e.scheduled_at IS NULL THEN 'email.queued' ELSE 'email.scheduled' END,
               NULL::uuid, '{}'::jsonb
        FROM e
        UNION ALL
        SELECT r.tenant_id, r.email_id, r.event_id, r.mode, 'email.suppressed', r.id, '{}'::jsonb
        FROM r WHERE r.event_id IS NOT NULL
    )
    INSERT INTO send_queue (tenant_id, email_id, lane, due_at)
    SELECT e.tenant_id, e.id, e.lane, coalesce(e.scheduled_at, now()) FROM e
    WHERE e.status <> 'suppressed';

    -- Heard once it is committed.
    PERFORM pg_notify(channel, p.payload) FROM unnest(payloads) AS p (payload);
END
$$;

REVOKE ALL ON FUNCTION accept_emails FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accept_emails TO tp_accept;

DROP FUNCTION load_emails;

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
    statuses text[],
    trace_context text
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
        r.ids, r.kinds, r.addresses, r.statuses, e.trace_context
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

REVOKE ALL ON FUNCTION load_emails FROM PUBLIC;
GRANT EXECUTE ON FUNCTION load_emails TO tp_deliver;
