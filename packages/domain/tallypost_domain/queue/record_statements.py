"""SQL of recording, as named statements for asyncpg; see `records` for the order they run in."""

LOCK_QUEUE_ROWS = """
    SELECT q.tenant_id, q.email_id, q.worker_id, q.fence, q.attempt
    FROM send_queue q
    WHERE (q.tenant_id, q.email_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
    ORDER BY q.tenant_id, q.email_id
    FOR UPDATE
"""

LOCK_EMAILS = """
    SELECT e.tenant_id, e.id, e.mode,
           coalesce(s.on_unconfirmed,
                    CASE e.lane WHEN 'bulk' THEN 'hold' ELSE 'resend' END) AS on_unconfirmed
    FROM emails e
    LEFT JOIN streams s ON s.tenant_id = e.tenant_id AND s.name = e.stream
    WHERE (e.tenant_id, e.id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
    ORDER BY e.tenant_id, e.id
    FOR UPDATE OF e
"""

LOCK_RECIPIENTS = """
    SELECT r.tenant_id, r.email_id, r.id, r.status
    FROM recipients r
    WHERE (r.tenant_id, r.email_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
    ORDER BY r.tenant_id, r.email_id, r.id
    FOR UPDATE
"""

FIND_ATTEMPTS = """
    SELECT a.id FROM attempts a
    WHERE (a.tenant_id, a.email_id, a.id)
        IN (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]))
"""

INSERT_ATTEMPTS = """
    INSERT INTO attempts (
        tenant_id, email_id, id, attempt, fence, worker_id, provider, account, outcome, is_late,
        phase, recipients, evidence, provider_message_id, duration_s
    )
    SELECT
        a.tenant_id, a.email_id, a.id, a.attempt, a.fence, a.worker_id, a.provider, a.account,
        a.outcome, a.is_late, a.phase, a.recipients::jsonb, a.evidence::jsonb,
        a.provider_message_id, a.duration_s
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::bigint[], $6::uuid[], $7::text[],
        $8::text[], $9::text[], $10::bool[], $11::text[], $12::text[], $13::text[],
        $14::text[], $15::float8[]
    ) AS a (
        tenant_id, email_id, id, attempt, fence, worker_id, provider, account, outcome, is_late,
        phase, recipients, evidence, provider_message_id, duration_s
    )
"""

UPDATE_RECIPIENTS = """
    UPDATE recipients r
    SET status = c.status,
        detail = coalesce(c.detail, r.detail),
        provider_message_id = coalesce(c.provider_message_id, r.provider_message_id),
        updated_at = now()
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[])
        AS c (tenant_id, email_id, id, status, detail, provider_message_id)
    WHERE r.tenant_id = c.tenant_id AND r.email_id = c.email_id AND r.id = c.id
"""

UPDATE_EMAILS = """
    UPDATE emails e SET status = c.status, updated_at = now()
    FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS c (tenant_id, id, status)
    WHERE e.tenant_id = c.tenant_id AND e.id = c.id AND e.status <> c.status
"""

# A parked row whose last recipient was settled late would wait for ever. One that another worker
# holds is deleted by that worker, which finds nobody to send to.
CLEAR_ROWS = """
    DELETE FROM send_queue q
    USING unnest($1::uuid[], $2::uuid[]) AS c (tenant_id, email_id)
    WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.worker_id IS NULL
"""

DELETE_ROWS = """
    DELETE FROM send_queue q
    USING unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS c (tenant_id, email_id, fence)
    WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.fence = c.fence
"""

# A row that was marked as leaving, and from which nothing was handed over after all, has its
# handover taken off the count.
RETRY_ROWS = """
    UPDATE send_queue q
    SET state = 'waiting', worker_id = NULL, due_at = now() + make_interval(secs => c.delay_s),
        attempt = q.attempt - (c.is_unsent AND q.state = 'handing_over')::int
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::float8[], $5::bool[])
        AS c (tenant_id, email_id, fence, delay_s, is_unsent)
    WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.fence = c.fence
"""

PARK_ROWS = """
    UPDATE send_queue q SET state = c.state, worker_id = NULL
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[])
        AS c (tenant_id, email_id, fence, state)
    WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.fence = c.fence
"""

# The same claim marked again, after a commit of unknown fate, gets the same answer: only its
# own worker asks, and it hands nothing over before it has one.
MARK_HANDING_OVER = """
    UPDATE send_queue q SET state = 'handing_over', attempt = c.attempt + 1
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::int[])
        AS c (tenant_id, email_id, fence, attempt)
    WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.fence = c.fence
      AND q.state IN ('claimed', 'handing_over') AND q.worker_id = $5
    RETURNING q.tenant_id, q.email_id, q.lane, q.fence, q.attempt
"""
