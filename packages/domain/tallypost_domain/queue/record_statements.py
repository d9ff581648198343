"""SQL of recording, as named statements for asyncpg; see `records` for the order they run in.

Rows of partitioned tables are sought between the least and the greatest email id of the chunk, so
that the other partitions are not looked into. Each UPDATE and DELETE names what it expects to
find: the number of rows that it met tells whether the email is still as it was thought to be.
The worker is compared in words that no index answers, or the planner would go through all rows
of the worker in place of the one that the key finds.
"""

ON_UNCONFIRMED = "coalesce(s.on_unconfirmed, CASE e.lane WHEN 'bulk' THEN 'hold' ELSE 'resend' END)"
"""Whether an email may be sent again to whom may have it: `e` is the email, `s` its stream."""

LOCK_QUEUE_ROWS = """
    SELECT q.tenant_id, q.email_id, q.worker_id, q.fence, q.attempt
    FROM send_queue q
    WHERE (q.tenant_id, q.email_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
    ORDER BY q.tenant_id, q.email_id
    FOR UPDATE
"""

LOCK_EMAILS = f"""
    SELECT e.tenant_id, e.id AS email_id, e.mode, e.status, {ON_UNCONFIRMED} AS on_unconfirmed
    FROM emails e
    LEFT JOIN streams s ON s.tenant_id = e.tenant_id AND s.name = e.stream
    WHERE (e.tenant_id, e.id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
      AND e.id BETWEEN $3 AND $4
    ORDER BY e.tenant_id, e.id
    FOR UPDATE OF e
"""  # noqa: S608 - joined from constants of this file

LOCK_RECIPIENTS = """
    SELECT r.tenant_id, r.email_id, r.id, r.status
    FROM recipients r
    WHERE (r.tenant_id, r.email_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
      AND r.email_id BETWEEN $3 AND $4
    ORDER BY r.tenant_id, r.email_id, r.id
    FOR UPDATE
"""

FIND_ATTEMPTS = """
    SELECT a.id
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS w (tenant_id, email_id, id)
    JOIN attempts a ON a.tenant_id = w.tenant_id AND a.email_id = w.email_id AND a.id = w.id
    WHERE a.email_id BETWEEN $4 AND $5
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
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[]
    ) AS c (tenant_id, email_id, id, expected, status, detail, provider_message_id)
    WHERE r.tenant_id = c.tenant_id AND r.email_id = c.email_id AND r.id = c.id
      AND r.email_id BETWEEN $8 AND $9 AND r.status = c.expected
"""

UPDATE_EMAILS = """
    UPDATE emails e SET status = c.status, updated_at = now()
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[])
        AS c (tenant_id, id, expected, status)
    WHERE e.tenant_id = c.tenant_id AND e.id = c.id
      AND e.id BETWEEN $5 AND $6 AND e.status = c.expected
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
    USING unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[])
        AS c (tenant_id, email_id, fence, worker_id)
    WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.fence = c.fence
      AND q.worker_id IS NOT DISTINCT FROM c.worker_id
"""

# A row that was marked as leaving, and from which nothing was handed over after all, has its
# handover taken off the count.
RETRY_ROWS = """
    UPDATE send_queue q
    SET state = 'waiting', worker_id = NULL, due_at = now() + make_interval(secs => c.delay_s),
        attempt = q.attempt - (c.is_unsent AND q.state = 'handing_over')::int
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::float8[], $6::bool[])
        AS c (tenant_id, email_id, fence, worker_id, delay_s, is_unsent)
    WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.fence = c.fence
      AND q.worker_id IS NOT DISTINCT FROM c.worker_id
"""

PARK_ROWS = """
    UPDATE send_queue q SET state = c.state, worker_id = NULL
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[])
        AS c (tenant_id, email_id, fence, worker_id, state)
    WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.fence = c.fence
      AND q.worker_id IS NOT DISTINCT FROM c.worker_id
"""

# The same claim marked again, after a commit of unknown fate, gets the same answer: only its
# own worker asks, and it hands nothing over before it has one.
MARK_HANDING_OVER = """
    UPDATE send_queue q SET state = 'handing_over', attempt = c.attempt + 1
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::int[])
        AS c (tenant_id, email_id, fence, attempt)
    WHERE q.tenant_id = c.tenant_id AND q.email_id = c.email_id AND q.fence = c.fence
      AND q.state IN ('claimed', 'handing_over') AND q.worker_id IS NOT DISTINCT FROM $5
    RETURNING q.tenant_id, q.email_id, q.lane, q.fence, q.attempt
"""
