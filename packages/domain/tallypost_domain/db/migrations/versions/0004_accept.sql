-- A column that is the same in all rows comes as one value; see `spread`. No release has the
-- version without that, so it may simply be dropped.
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
            e_htmls, e_texts, e_attachments, e_event_ids
        ) AS e (
            tenant_id, id, mode, api_key_id, domain_id, stream, lane,
            from_header, from_address, to_header, cc_header, bcc_header,
            reply_to, subject, headers, tags, size_bytes, status, scheduled_at,
            html, text, attachments, event_id
        )
    ), r AS MATERIALIZED (
        SELECT * FROM unnest(
            r_tenant_ids, r_email_ids, r_ids, r_modes, r_kinds, r_addresses, r_statuses, r_event_ids
        ) AS r (tenant_id, email_id, id, mode, kind, address, status, event_id)
    ), inserted_emails AS (
        INSERT INTO emails (
            tenant_id, id, mode, api_key_id, domain_id, stream, lane, from_header, from_address,
            to_header, cc_header, bcc_header, reply_to, subject, headers, tags, size_bytes, status,
            scheduled_at
        )
        SELECT
            e.tenant_id, e.id, e.mode, e.api_key_id, e.domain_id, e.stream, e.lane, e.from_header,
            e.from_address, e.to_header::jsonb, e.cc_header::jsonb, e.bcc_header::jsonb,
            e.reply_to::jsonb, e.subject, e.headers::jsonb, e.tags::jsonb, e.size_bytes, e.status,
            e.scheduled_at
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
