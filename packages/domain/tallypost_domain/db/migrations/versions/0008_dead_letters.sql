-- A dead letter is a recipient that `failed`. It has a row here for as long as it has that status:
-- an index that finds recipients by status would cost every update of one.
CREATE TABLE dead_letters (
    tenant_id uuid NOT NULL,
    -- Of the event that tells of it: newer ones sort later.
    id uuid NOT NULL,
    mode text NOT NULL,
    email_id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    cause text NOT NULL,
    stream text NOT NULL,
    recipient_domain text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_dead_letters PRIMARY KEY (tenant_id, email_id, recipient_id),
    CONSTRAINT ck_dead_letters_mode CHECK (mode IN ('test', 'live'))
);

-- One for each thing that the list can be narrowed by.
CREATE INDEX ix_dead_letters_tenant_id_mode_id ON dead_letters (tenant_id, mode, id);
CREATE INDEX ix_dead_letters_tenant_id_mode_cause_id ON dead_letters (tenant_id, mode, cause, id);
CREATE INDEX ix_dead_letters_tenant_id_mode_stream_id
    ON dead_letters (tenant_id, mode, stream, id);
CREATE INDEX ix_dead_letters_tenant_id_mode_recipient_domain_id
    ON dead_letters (tenant_id, mode, recipient_domain, id);

ALTER TABLE dead_letters ENABLE ROW LEVEL SECURITY;
ALTER TABLE dead_letters FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON dead_letters TO tp_console
    USING (tenant_id = (SELECT current_tenant_id()))
    WITH CHECK (tenant_id = (SELECT current_tenant_id()));
CREATE POLICY named_tenants ON dead_letters TO tp_deliver
    USING ((tenant_id = ANY ((SELECT current_tenant_ids())::uuid[])) IS TRUE)
    WITH CHECK (tenant_id = ANY ((SELECT current_tenant_ids())::uuid[]));

-- Whoever gives a recipient up tells of it by an event, which has the cause. As a trigger, because
-- workers of the release before this one know nothing of the table.
CREATE FUNCTION note_dead_letter() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO dead_letters (
        tenant_id, id, mode, email_id, recipient_id, cause, stream, recipient_domain
    )
    SELECT
        NEW.tenant_id, NEW.id, NEW.mode, NEW.subject_id, NEW.recipient_id,
        coalesce(NEW.data ->> 'reason', 'unknown'), e.stream, substring(r.address FROM '[^@]*$')
    FROM recipients r JOIN emails e ON e.tenant_id = r.tenant_id AND e.id = r.email_id
    WHERE r.tenant_id = NEW.tenant_id AND r.email_id = NEW.subject_id AND r.id = NEW.recipient_id
      AND e.id = NEW.subject_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION note_dead_letter() FROM PUBLIC;

CREATE TRIGGER note_dead_letter AFTER INSERT ON events
FOR EACH ROW WHEN (NEW.type = 'email.failed')
EXECUTE FUNCTION note_dead_letter();

-- The owner may read what a role of functions may, of which it is a member; else it sees no row.
CREATE POLICY backfill ON recipients FOR SELECT TO tp_system USING (true);
CREATE POLICY backfill ON events FOR SELECT TO tp_system USING (true);
CREATE POLICY backfill ON dead_letters TO tp_system USING (true) WITH CHECK (true);
INSERT INTO dead_letters (
    tenant_id, id, mode, email_id, recipient_id, cause, stream, recipient_domain, failed_at
)
SELECT
    v.tenant_id, v.id, v.mode, v.subject_id, v.recipient_id, coalesce(v.data ->> 'reason', 'unknown'),
    e.stream, substring(r.address FROM '[^@]*$'), v.created_at
FROM events v
JOIN emails e ON e.tenant_id = v.tenant_id AND e.id = v.subject_id
JOIN recipients r
    ON r.tenant_id = v.tenant_id AND r.email_id = v.subject_id AND r.id = v.recipient_id
WHERE v.type = 'email.failed' AND r.status = 'failed'
ON CONFLICT DO NOTHING;
DROP POLICY backfill ON recipients;
DROP POLICY backfill ON events;
DROP POLICY backfill ON dead_letters;

-- Parked rows wait for a person, who looks for them in one tenant.
CREATE INDEX ix_send_queue_ambiguous ON send_queue (tenant_id, email_id)
    WHERE state = 'ambiguous';

-- The row of an email that is sent again begins with a fence that no earlier row of it had: else a
-- worker that held the first one could record its result as the second one's.
CREATE SEQUENCE requeue_fences;

GRANT INSERT ON dead_letters TO tp_deliver;

GRANT SELECT, DELETE ON dead_letters TO tp_console;
GRANT SELECT (tenant_id, email_id, lane, due_at, attempt, state, worker_id) ON send_queue
    TO tp_console;
GRANT INSERT (tenant_id, email_id, lane, fence), UPDATE (state, attempt, due_at, fence) ON send_queue
    TO tp_console;
GRANT UPDATE (status, updated_at) ON emails, recipients TO tp_console;
GRANT INSERT ON events TO tp_console;
GRANT SELECT (tenant_id, mode, address_hash) ON suppressions TO tp_console;
GRANT SELECT (tenant_id, id, status) ON domains TO tp_console;
GRANT SELECT (on_unconfirmed) ON streams TO tp_console;
GRANT EXECUTE ON FUNCTION policy_of_unconfirmed TO tp_console;
GRANT USAGE ON SEQUENCE requeue_fences TO tp_console;

-- A person's page of API keys; what a key is recognised by is nobody's to read.
GRANT SELECT (tenant_id, id, mode, name, prefix, last_four, permission, stream, rate_limit_per_s,
    created_at, revoked_at), INSERT, UPDATE (revoked_at) ON api_keys TO tp_console;
GRANT SELECT (tenant_id, name) ON streams TO tp_console;
