-- The foreign key looks each email up once more, and guards nothing: the call that inserts an
-- attempt has changed the email's recipients or locked the email, and nothing deletes an email
-- while it has attempts.
ALTER TABLE attempts DROP CONSTRAINT fk_attempts_tenant_id_emails;

-- Records what became of handovers and marks the next ones, by one call and one commit. Returns the
-- claims that are marked. Runs with the rights of its caller.
--
-- Each row names what it expects to find. Where something else is found, it fails with TP002 and
-- has written nothing: then the caller decides anew. The queue comes first: a result that was
-- recorded before finds its row gone or moved on, and never meets its own attempt. Such a repeated
-- result, and a late one, leaves an ERROR line with TP002 in PostgreSQL's log. That is no fault.
--
-- Whoever changes an email or its recipients holds its queue row, and all queue rows are locked in
-- the order of their keys, so that calls for the same rows wait for each other and never in a ring.
CREATE FUNCTION record_settlements(
    tenant_ids uuid[],
    -- No partition without an email between the two is looked into.
    least_email_id uuid,
    greatest_email_id uuid,
    -- Queue rows, in the order of their keys. fate is `delete`, `mark` (it is about to leave), the
    -- state that a row gets, or `clear`: a row that is nobody's goes, and none need be there. Without
    -- a delay the due time stays. From an unsent one nothing was handed over: if it was marked, that
    -- handover is taken off the count.
    q_count integer,
    q_tenant_ids uuid[],
    q_email_ids uuid[],
    q_fences bigint[],
    q_worker_ids uuid[],
    q_fates text[],
    q_delays_s float8[],
    q_are_unsent boolean[],
    -- Emails whose status changes.
    e_count integer,
    e_tenant_ids uuid[],
    e_ids uuid[],
    e_expected text[],
    e_statuses text[],
    -- Recipients whose status changes; with a provider, one unit is billed.
    r_count integer,
    r_tenant_ids uuid[],
    r_email_ids uuid[],
    r_ids uuid[],
    r_expected text[],
    r_statuses text[],
    r_details text[],
    r_message_ids text[],
    r_billed_providers text[],
    -- Attempts: handovers that have ended, and what was said about each recipient.
    a_count integer,
    a_tenant_ids uuid[],
    a_email_ids uuid[],
    a_ids uuid[],
    a_numbers integer[],
    a_fences bigint[],
    a_worker_ids uuid[],
    a_providers text[],
    a_accounts text[],
    a_outcomes text[],
    a_are_late boolean[],
    a_phases text[],
    a_recipients text[],
    a_evidence text[],
    a_message_ids text[],
    a_durations_s float8[],
    -- Events of emails and recipients, for the timeline.
    v_count integer,
    v_tenant_ids uuid[],
    v_subject_ids uuid[],
    v_ids uuid[],
    v_modes text[],
    v_types text[],
    v_recipient_ids uuid[],
    v_data text[]
) RETURNS TABLE (marked_email_id uuid, marked_fence bigint)
LANGUAGE plpgsql
AS $$
DECLARE
    finished tid[];
    leaving tid[];
    change record;
    wanted bigint;
    met bigint;
BEGIN
    PERFORM set_config('app.tenant_ids', tenant_ids::text, true);

    -- Each row is sought by its key and then named by its place. Joined, the planner would read the
    -- whole queue while it is short, and a connection keeps that plan when it has grown.
    IF q_count > 0 THEN
        q_tenant_ids := spread(q_tenant_ids, q_count);
        q_email_ids := spread(q_email_ids, q_count);
        q_fences := spread(q_fences, q_count);
        q_worker_ids := spread(q_worker_ids, q_count);
        q_fates := spread(q_fates, q_count);
        SELECT array_agg(q.place) FILTER (WHERE c.fate = 'delete'),
               array_agg(q.place) FILTER (WHERE c.fate = 'mark'),
               count(*) FILTER (WHERE c.fate NOT IN ('mark', 'clear'))
        INTO finished, leaving, met
        FROM unnest(q_tenant_ids, q_email_ids, q_fences, q_worker_ids, q_fates)
            AS c (tenant_id, email_id, fence, worker_id, fate)
        CROSS JOIN LATERAL (
            SELECT q.ctid AS place FROM send_queue q
            WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.fence = c.fence
              AND q.worker_id IS NOT DISTINCT FROM c.worker_id
            FOR UPDATE
        ) q;
        wanted := q_count - cardinality(array_positions(q_fates, 'mark'))
            - cardinality(array_positions(q_fates, 'clear'));
        IF met < wanted THEN
            RAISE EXCEPTION 'a queue row has changed' USING ERRCODE = 'TP002';
        END IF;
        DELETE FROM send_queue q WHERE q.ctid = ANY (finished);
        FOR change IN
            SELECT c.* FROM unnest(
                q_tenant_ids, q_email_ids, q_fates, spread(q_delays_s, q_count),
                spread(q_are_unsent, q_count)
            ) AS c (tenant_id, email_id, fate, delay_s, is_unsent)
            WHERE c.fate NOT IN ('delete', 'mark')
        LOOP
            IF change.fate = 'clear' THEN
                -- A parked row whose last recipient was settled late would wait for ever. One that
                -- another worker holds is deleted by that worker, which finds nobody to send to.
                DELETE FROM send_queue q
                WHERE q.tenant_id = change.tenant_id AND q.email_id = change.email_id
                  AND q.worker_id IS NULL;
            ELSE
                UPDATE send_queue q
                SET state = change.fate, worker_id = NULL,
                    due_at = coalesce(now() + make_interval(secs => change.delay_s), q.due_at),
                    attempt = q.attempt - (change.is_unsent AND q.state = 'handing_over')::int
                WHERE q.tenant_id = change.tenant_id AND q.email_id = change.email_id;
            END IF;
        END LOOP;
        -- The same claim marked again, after a commit of unknown fate, gets the same answer: only
        -- its own worker asks, and it hands nothing over before it has one.
        RETURN QUERY
        UPDATE send_queue q
        SET state = 'handing_over', attempt = q.attempt + (q.state = 'claimed')::int
        WHERE q.ctid = ANY (leaving)
        RETURNING q.email_id, q.fence;
    END IF;

    IF e_count > 0 THEN
        e_tenant_ids := spread(e_tenant_ids, e_count);
        e_ids := spread(e_ids, e_count);
        e_expected := spread(e_expected, e_count);
        e_statuses := spread(e_statuses, e_count);
        UPDATE emails e SET status = c.status, updated_at = now()
        FROM unnest(e_tenant_ids, e_ids, e_expected, e_statuses)
            AS c (tenant_id, id, expected, status)
        WHERE e.tenant_id = c.tenant_id AND e.id = c.id AND e.status = c.expected
          AND e.id BETWEEN least_email_id AND greatest_email_id;
        GET DIAGNOSTICS met = ROW_COUNT;
        IF met < e_count THEN
            RAISE EXCEPTION 'an email has changed' USING ERRCODE = 'TP002';
        END IF;
    END IF;

    IF r_count > 0 THEN
        r_tenant_ids := spread(r_tenant_ids, r_count);
        r_email_ids := spread(r_email_ids, r_count);
        r_ids := spread(r_ids, r_count);
        r_expected := spread(r_expected, r_count);
        r_statuses := spread(r_statuses, r_count);
        r_details := spread(r_details, r_count);
        r_message_ids := spread(r_message_ids, r_count);
        r_billed_providers := spread(r_billed_providers, r_count);
        UPDATE recipients r
        SET status = c.status,
            detail = coalesce(c.detail, r.detail),
            provider_message_id = coalesce(c.message_id, r.provider_message_id),
            updated_at = now()
        FROM unnest(
            r_tenant_ids, r_email_ids, r_ids, r_expected, r_statuses, r_details, r_message_ids
        ) AS c (tenant_id, email_id, id, expected, status, detail, message_id)
        WHERE r.tenant_id = c.tenant_id AND r.email_id = c.email_id AND r.id = c.id
          AND r.status = c.expected
          AND r.email_id BETWEEN least_email_id AND greatest_email_id;
        GET DIAGNOSTICS met = ROW_COUNT;
        IF met < r_count THEN
            RAISE EXCEPTION 'a recipient has changed' USING ERRCODE = 'TP002';
        END IF;
        -- The key is (tenant, email, recipient): the same acceptance again counts nothing.
        INSERT INTO usage_ledger (tenant_id, email_id, recipient_id, units, provider)
        SELECT c.tenant_id, c.email_id, c.id, 1, c.provider
        FROM unnest(r_tenant_ids, r_email_ids, r_ids, r_billed_providers)
            AS c (tenant_id, email_id, id, provider)
        WHERE c.provider IS NOT NULL
        ON CONFLICT DO NOTHING;
    END IF;

    IF a_count > 0 THEN
        a_tenant_ids := spread(a_tenant_ids, a_count);
        a_email_ids := spread(a_email_ids, a_count);
        a_ids := spread(a_ids, a_count);
        a_numbers := spread(a_numbers, a_count);
        a_fences := spread(a_fences, a_count);
        a_worker_ids := spread(a_worker_ids, a_count);
        a_providers := spread(a_providers, a_count);
        a_accounts := spread(a_accounts, a_count);
        a_outcomes := spread(a_outcomes, a_count);
        a_are_late := spread(a_are_late, a_count);
        a_phases := spread(a_phases, a_count);
        a_recipients := spread(a_recipients, a_count);
        a_evidence := spread(a_evidence, a_count);
        a_message_ids := spread(a_message_ids, a_count);
        a_durations_s := spread(a_durations_s, a_count);
        INSERT INTO attempts (
            tenant_id, email_id, id, attempt, fence, worker_id, provider, account, outcome,
            is_late, phase, recipients, evidence, provider_message_id, duration_s
        )
        SELECT
            a.tenant_id, a.email_id, a.id, a.number, a.fence, a.worker_id, a.provider, a.account,
            a.outcome, a.is_late, a.phase, a.recipients::jsonb, a.evidence::jsonb, a.message_id,
            a.duration_s
        FROM unnest(
            a_tenant_ids, a_email_ids, a_ids, a_numbers, a_fences, a_worker_ids, a_providers,
            a_accounts, a_outcomes, a_are_late, a_phases, a_recipients, a_evidence, a_message_ids,
            a_durations_s
        ) AS a (
            tenant_id, email_id, id, number, fence, worker_id, provider, account, outcome, is_late,
            phase, recipients, evidence, message_id, duration_s
        );
    END IF;

    IF v_count > 0 THEN
        v_tenant_ids := spread(v_tenant_ids, v_count);
        v_subject_ids := spread(v_subject_ids, v_count);
        v_ids := spread(v_ids, v_count);
        v_modes := spread(v_modes, v_count);
        v_types := spread(v_types, v_count);
        v_recipient_ids := spread(v_recipient_ids, v_count);
        v_data := spread(v_data, v_count);
        INSERT INTO events (tenant_id, subject_id, id, mode, type, recipient_id, data)
        SELECT v.tenant_id, v.subject_id, v.id, v.mode, v.type, v.recipient_id, v.data::jsonb
        FROM unnest(
            v_tenant_ids, v_subject_ids, v_ids, v_modes, v_types, v_recipient_ids, v_data
        ) AS v (tenant_id, subject_id, id, mode, type, recipient_id, data);
    END IF;
END
$$;

REVOKE ALL ON FUNCTION record_settlements FROM PUBLIC;
GRANT EXECUTE ON FUNCTION record_settlements TO tp_deliver;
