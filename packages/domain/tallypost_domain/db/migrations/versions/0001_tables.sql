-- Who uses the platform.

CREATE TABLE tenants (
    id uuid NOT NULL,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'active',
    rate_limit_per_s double precision,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_tenants PRIMARY KEY (id),
    CONSTRAINT ck_tenants_status CHECK (status IN ('active', 'suspended', 'closed'))
);

CREATE TABLE tenant_data_keys (
    tenant_id uuid NOT NULL,
    ring_key_name text NOT NULL,
    wrapped_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_tenant_data_keys PRIMARY KEY (tenant_id),
    CONSTRAINT fk_tenant_data_keys_tenant_id_tenants FOREIGN KEY (tenant_id)
        REFERENCES tenants (id) ON DELETE CASCADE
);

CREATE TABLE people (
    id uuid NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    password_hash text NOT NULL,
    is_operator boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_people PRIMARY KEY (id),
    CONSTRAINT uq_people_email UNIQUE (email),
    CONSTRAINT ck_people_email_is_lower CHECK (email = lower(email))
);

CREATE TABLE memberships (
    tenant_id uuid NOT NULL,
    person_id uuid NOT NULL,
    role text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_memberships PRIMARY KEY (tenant_id, person_id),
    CONSTRAINT ck_memberships_role CHECK (
        role IN ('owner', 'admin', 'developer', 'marketer', 'billing', 'viewer')
    ),
    CONSTRAINT fk_memberships_tenant_id_tenants FOREIGN KEY (tenant_id)
        REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT fk_memberships_person_id_people FOREIGN KEY (person_id)
        REFERENCES people (id) ON DELETE CASCADE
);

CREATE INDEX ix_memberships_person_id ON memberships (person_id);

CREATE TABLE sessions (
    token_hash bytea NOT NULL,
    person_id uuid NOT NULL,
    active_tenant_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_sessions PRIMARY KEY (token_hash),
    CONSTRAINT fk_sessions_person_id_people FOREIGN KEY (person_id)
        REFERENCES people (id) ON DELETE CASCADE
);

CREATE TABLE api_keys (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    mode text NOT NULL,
    name text NOT NULL,
    key_hash bytea NOT NULL,
    prefix text NOT NULL,
    last_four text NOT NULL,
    permission text NOT NULL,
    stream text,
    rate_limit_per_s double precision,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    CONSTRAINT pk_api_keys PRIMARY KEY (tenant_id, id),
    CONSTRAINT uq_api_keys_key_hash UNIQUE (key_hash),
    CONSTRAINT ck_api_keys_mode CHECK (mode IN ('test', 'live')),
    CONSTRAINT ck_api_keys_permission CHECK (permission IN ('full_access', 'sending_access')),
    CONSTRAINT fk_api_keys_tenant_id_tenants FOREIGN KEY (tenant_id)
        REFERENCES tenants (id) ON DELETE CASCADE
);

CREATE TABLE audit_log (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    actor_kind text NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    subject_kind text,
    subject_id uuid,
    changes jsonb NOT NULL,
    ip_address text,
    user_agent text,
    created_at timestamptz NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT pk_audit_log PRIMARY KEY (tenant_id, id),
    CONSTRAINT uq_audit_log_tenant_id_sequence UNIQUE (tenant_id, sequence),
    CONSTRAINT ck_audit_log_actor_kind CHECK (actor_kind IN ('person', 'api_key', 'system')),
    CONSTRAINT fk_audit_log_tenant_id_tenants FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

-- From where and how a tenant sends.

CREATE TABLE domains (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    verified_at timestamptz,
    CONSTRAINT pk_domains PRIMARY KEY (tenant_id, id),
    CONSTRAINT uq_domains_tenant_id_name UNIQUE (tenant_id, name),
    CONSTRAINT ck_domains_name_is_lower CHECK (name = lower(name)),
    CONSTRAINT ck_domains_status CHECK (status IN ('pending', 'verified', 'failed')),
    CONSTRAINT fk_domains_tenant_id_tenants FOREIGN KEY (tenant_id)
        REFERENCES tenants (id) ON DELETE CASCADE
);

-- Two tenants may both try a name; only one can have it verified.
CREATE UNIQUE INDEX uq_domains_name_verified ON domains (name) WHERE status = 'verified';

CREATE TABLE dkim_keys (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    domain_id uuid NOT NULL,
    selector text NOT NULL,
    algorithm text NOT NULL,
    private_key bytea NOT NULL,
    public_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_dkim_keys PRIMARY KEY (tenant_id, id),
    CONSTRAINT uq_dkim_keys_tenant_id_domain_id_selector UNIQUE (tenant_id, domain_id, selector),
    CONSTRAINT ck_dkim_keys_algorithm CHECK (algorithm IN ('rsa-sha256', 'ed25519-sha256')),
    CONSTRAINT fk_dkim_keys_tenant_id_domains FOREIGN KEY (tenant_id, domain_id)
        REFERENCES domains (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE streams (
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    lane text NOT NULL,
    on_unconfirmed text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_streams PRIMARY KEY (tenant_id, name),
    CONSTRAINT ck_streams_lane CHECK (lane IN ('transactional', 'bulk')),
    CONSTRAINT ck_streams_on_unconfirmed CHECK (on_unconfirmed IN ('resend', 'hold')),
    CONSTRAINT fk_streams_tenant_id_tenants FOREIGN KEY (tenant_id)
        REFERENCES tenants (id) ON DELETE CASCADE
);

CREATE TABLE suppressions (
    tenant_id uuid NOT NULL,
    mode text NOT NULL,
    address_hash bytea NOT NULL,
    id uuid NOT NULL,
    origin text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_suppressions PRIMARY KEY (tenant_id, mode, address_hash),
    CONSTRAINT ck_suppressions_mode CHECK (mode IN ('test', 'live')),
    CONSTRAINT ck_suppressions_origin CHECK (origin IN ('bounce', 'complaint', 'manual')),
    CONSTRAINT fk_suppressions_tenant_id_tenants FOREIGN KEY (tenant_id)
        REFERENCES tenants (id) ON DELETE CASCADE
);

-- One email and what became of it: partitioned by week on the time inside its UUIDv7.

CREATE TABLE emails (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    mode text NOT NULL,
    api_key_id uuid NOT NULL,
    domain_id uuid NOT NULL,
    stream text NOT NULL,
    lane text NOT NULL,
    from_header text NOT NULL,
    from_address text NOT NULL,
    to_header jsonb NOT NULL,
    cc_header jsonb NOT NULL,
    bcc_header jsonb NOT NULL,
    reply_to jsonb NOT NULL,
    subject text NOT NULL,
    headers jsonb NOT NULL,
    tags jsonb NOT NULL,
    size_bytes integer NOT NULL,
    status text NOT NULL,
    scheduled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_emails PRIMARY KEY (tenant_id, id),
    CONSTRAINT ck_emails_mode CHECK (mode IN ('test', 'live')),
    CONSTRAINT ck_emails_lane CHECK (lane IN ('transactional', 'bulk')),
    CONSTRAINT ck_emails_status CHECK (status IN (
        'scheduled', 'queued', 'held', 'deferred', 'unconfirmed',
        'sent', 'delivered', 'bounced', 'complained', 'suppressed', 'failed', 'canceled'
    ))
) PARTITION BY RANGE (id);

CREATE INDEX ix_emails_tenant_id_mode_id ON emails (tenant_id, mode, id);

CREATE TABLE recipients (
    tenant_id uuid NOT NULL,
    email_id uuid NOT NULL,
    id uuid NOT NULL,
    mode text NOT NULL,
    kind text NOT NULL,
    address text NOT NULL,
    status text NOT NULL,
    provider_message_id text,
    detail text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_recipients PRIMARY KEY (tenant_id, email_id, id),
    CONSTRAINT ck_recipients_mode CHECK (mode IN ('test', 'live')),
    CONSTRAINT ck_recipients_kind CHECK (kind IN ('to', 'cc', 'bcc')),
    CONSTRAINT ck_recipients_status CHECK (status IN (
        'scheduled', 'queued', 'held', 'deferred', 'unconfirmed',
        'sent', 'delivered', 'bounced', 'complained', 'suppressed', 'failed', 'canceled'
    )),
    CONSTRAINT fk_recipients_tenant_id_emails FOREIGN KEY (tenant_id, email_id)
        REFERENCES emails (tenant_id, id)
) PARTITION BY RANGE (email_id);

CREATE TABLE email_contents (
    tenant_id uuid NOT NULL,
    email_id uuid NOT NULL,
    html text,
    text text,
    attachments jsonb NOT NULL,
    CONSTRAINT pk_email_contents PRIMARY KEY (tenant_id, email_id),
    CONSTRAINT fk_email_contents_tenant_id_emails FOREIGN KEY (tenant_id, email_id)
        REFERENCES emails (tenant_id, id)
) PARTITION BY RANGE (email_id);

CREATE TABLE attempts (
    tenant_id uuid NOT NULL,
    email_id uuid NOT NULL,
    id uuid NOT NULL,
    attempt integer NOT NULL,
    fence bigint NOT NULL,
    worker_id uuid NOT NULL,
    provider text NOT NULL,
    account text NOT NULL,
    outcome text NOT NULL,
    is_late boolean NOT NULL DEFAULT false,
    phase text NOT NULL,
    recipients jsonb NOT NULL,
    evidence jsonb NOT NULL,
    provider_message_id text,
    duration_s double precision NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_attempts PRIMARY KEY (tenant_id, email_id, id),
    CONSTRAINT ck_attempts_outcome CHECK (outcome IN (
        'accepted', 'rejected', 'deferred', 'throttled', 'suspended', 'unavailable', 'ambiguous'
    )),
    CONSTRAINT fk_attempts_tenant_id_emails FOREIGN KEY (tenant_id, email_id)
        REFERENCES emails (tenant_id, id)
) PARTITION BY RANGE (email_id);

-- subject_id is the email's id, or a UUIDv7 of its own for an event about anything else.
CREATE TABLE events (
    tenant_id uuid NOT NULL,
    subject_id uuid NOT NULL,
    id uuid NOT NULL,
    mode text NOT NULL,
    type text NOT NULL,
    recipient_id uuid,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_events PRIMARY KEY (tenant_id, subject_id, id),
    CONSTRAINT ck_events_mode CHECK (mode IN ('test', 'live'))
) PARTITION BY RANGE (subject_id);

CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL,
    mode text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    answer jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (tenant_id, mode, route, key),
    CONSTRAINT ck_idempotency_keys_mode CHECK (mode IN ('test', 'live'))
);

CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);

-- The queue of record: one row for each email that still has recipients to send to.

CREATE TABLE send_queue (
    tenant_id uuid NOT NULL,
    email_id uuid NOT NULL,
    lane text NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now(),
    attempt integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'waiting',
    worker_id uuid,
    fence bigint NOT NULL DEFAULT 0,
    CONSTRAINT pk_send_queue PRIMARY KEY (tenant_id, email_id),
    CONSTRAINT ck_send_queue_lane CHECK (lane IN ('transactional', 'bulk')),
    CONSTRAINT ck_send_queue_state CHECK (
        state IN ('waiting', 'held', 'claimed', 'handing_over', 'ambiguous')
    ),
    CONSTRAINT ck_send_queue_worker_id CHECK (
        (worker_id IS NOT NULL) = (state IN ('claimed', 'handing_over'))
    ),
    CONSTRAINT fk_send_queue_tenant_id_emails FOREIGN KEY (tenant_id, email_id)
        REFERENCES emails (tenant_id, id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX ix_send_queue_waiting ON send_queue (lane, tenant_id, due_at, email_id)
    WHERE state = 'waiting';

CREATE INDEX ix_send_queue_worker_id ON send_queue (worker_id) WHERE worker_id IS NOT NULL;

CREATE TABLE workers (
    id uuid NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_workers PRIMARY KEY (id)
);

-- One row for each billable recipient; never updated, and kept when the email is gone.
CREATE TABLE usage_ledger (
    tenant_id uuid NOT NULL,
    email_id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    units integer NOT NULL,
    provider text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_usage_ledger PRIMARY KEY (tenant_id, email_id, recipient_id),
    CONSTRAINT ck_usage_ledger_units CHECK (units > 0)
);

CREATE INDEX ix_usage_ledger_tenant_id_occurred_at ON usage_ledger (tenant_id, occurred_at);

-- What test mode, and the local default, delivers to.
CREATE TABLE inbox_messages (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    email_id uuid NOT NULL,
    mode text NOT NULL,
    envelope_sender text NOT NULL,
    envelope_recipients text[] NOT NULL,
    subject text NOT NULL,
    size_bytes integer NOT NULL,
    message bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_inbox_messages PRIMARY KEY (tenant_id, id),
    CONSTRAINT ck_inbox_messages_mode CHECK (mode IN ('test', 'live'))
);

CREATE INDEX ix_inbox_messages_tenant_id_email_id ON inbox_messages (tenant_id, email_id);

CREATE INDEX ix_inbox_messages_received_at ON inbox_messages (received_at);
